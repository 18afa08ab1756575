"""Files made to harm whoever opens them: nothing in them is run, nothing outside of their folder is touched or read."""

from __future__ import annotations

import gc
import io
import json
import os
import pickle
import struct
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from byol_a import BYOLA, ByolaError, FrontendConfig, NormStats, UsageError
from byol_a.config import build, read_yaml
from byol_a.data.clips import FileClips
from byol_a.data.index import AudioIndex
from byol_a.data.scan.scan import scan
from byol_a.data.store.audio_store import CLIPS, STORE, AudioStore
from byol_a.data.store.pack import pack
from byol_a.embed import embed
from byol_a.encoders.import_weights import read_weights
from byol_a.errors import AudioError
from byol_a.matrix import open_matrix
from byol_a.model import CONFIG, WEIGHTS
from byol_a.recipes import recipe_path
from byol_a.store import PROVENANCE, ROWS, read_store
from byol_a.store_writer import Stamp, StoreWriter
from byol_a.training.checkpoint import load_checkpoint
from byol_a.training.config import PretrainConfig
from tests.fuzz.budget import memory_limit, time_limit


class Trap:
    """Unpickling it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (str(self.folder),)


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    """A folder that is made by whoever runs what is in a file."""
    return tmp_path / "trap"


def hostile_pickles(trap: Path) -> dict[str, bytes]:
    """Every form in which a pickle that runs code is passed around."""
    as_torch, as_old_torch, as_npy, as_npz = (io.BytesIO() for _ in range(4))
    torch.save({"weight": Trap(trap)}, as_torch)
    torch.save({"weight": Trap(trap)}, as_old_torch, _use_new_zipfile_serialization=False)
    np.save(as_npy, np.array([[Trap(trap)]], dtype=object), allow_pickle=True)
    np.savez(as_npz, embeddings=np.array([[Trap(trap)]], dtype=object))
    files = {"pickle": pickle.dumps(Trap(trap)), "old pickle": pickle.dumps(Trap(trap), protocol=0)}
    return files | {
        "torch": as_torch.getvalue(),
        "old torch": as_old_torch.getvalue(),
        "npy": as_npy.getvalue(),
        "npz": as_npz.getvalue(),
    }


PICKLES = sorted(hostile_pickles(Path("x")))


def test_the_trap_works(trap: Path) -> None:
    """Or else the tests below would prove nothing."""
    for kind, data in hostile_pickles(trap).items():
        if kind == "npz":
            np.load(io.BytesIO(data), allow_pickle=True)["embeddings"]
        elif "npy" in kind:
            np.load(io.BytesIO(data), allow_pickle=True)
        elif "torch" in kind:
            torch.load(io.BytesIO(data), weights_only=False)
        else:
            pickle.loads(data)
        trap.rmdir()


# --- models ---


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model"
    torch.manual_seed(0)
    BYOLA("AudioNTT2022", {"hidden_dim": 4}, FrontendConfig(n_mels=8), NormStats(-7.0, 4.0)).save_pretrained(path)
    return path


def change_config(model: Path, **changes: Any) -> None:
    config = json.loads((model / CONFIG).read_text())
    for key, value in changes.items():
        *parents, last = key.split("__")
        node = config
        for parent in parents:
            node = node[parent]
        node[last] = value
    (model / CONFIG).write_text(json.dumps(config))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol:UserWarning")
@pytest.mark.parametrize("kind", PICKLES)
def test_weights_that_are_a_pickle(model: Path, trap: Path, kind: str) -> None:
    (model / WEIGHTS).write_bytes(hostile_pickles(trap)[kind])
    with pytest.raises(ByolaError, match="damaged"):
        BYOLA.from_pretrained(model)
    with pytest.raises(UsageError):
        read_weights(model / WEIGHTS)
    assert not trap.exists()


@pytest.mark.parametrize("kind", PICKLES)
def test_other_files_in_a_model_folder_are_not_opened(model: Path, trap: Path, kind: str) -> None:
    for name in ("pytorch_model.bin", "model.pt", "training_args.bin", "byol_a.py", "__init__.py"):
        (model / name).write_bytes(hostile_pickles(trap)[kind])
    assert BYOLA.from_pretrained(model).embedding_dim == 132
    assert not trap.exists()


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "byol_a.encoders:create_encoder",
        "/tmp/encoder.py",
        "../../encoder",
        "timm:hf-hub:somebody/model",
        "timm:local-dir:/tmp/model",
        "timm:../../model",
        "timm:",
        "__class__",
        "",
    ],
)
def test_an_encoder_is_one_of_a_list(model: Path, name: str) -> None:
    change_config(model, encoder__name=name)
    with pytest.raises(UsageError, match=r"there is no encoder|timm has no model"):
        BYOLA.from_pretrained(model)


@pytest.mark.parametrize(
    "options",
    [
        {"checkpoint_path": "/etc/passwd"},
        {"pretrained": True},
        {"pretrained_cfg": {"url": "http://localhost"}},
        {"pretrained_cfg_overlay": {"file": "/etc/passwd"}},
        {"cache_dir": "/tmp"},
        {"scriptable": True},
        {"__class__": "x"},
        {"norm_layer": "os.system"},
    ],
)
def test_options_of_an_encoder_load_nothing(model: Path, options: dict[str, Any]) -> None:
    pytest.importorskip("timm")
    for name in ("timm:resnet18", "AudioNTT2022"):
        change_config(model, encoder__name=name, encoder__options=options)
        with pytest.raises(ByolaError):
            BYOLA.from_pretrained(model)


@pytest.mark.parametrize(
    "changes",
    [
        {"encoder__options": {"hidden_dim": 10**7}},
        {"encoder__options": {"hidden_dim": 2**62}},
        {"encoder__name": "AudioNTT2020", "encoder__options": {"embedding_dim": 10**6}},
        {"frontend__n_mels": 2**40},
        {"frontend__n_fft": 2**40, "frontend__win_length": 2**40},
        {"frontend__sample_rate": 2**40},
    ],
)
def test_memory_is_not_taken_because_a_config_asks_for_it(model: Path, changes: dict[str, Any]) -> None:
    change_config(model, **changes)
    with memory_limit(1 << 28), pytest.raises(ByolaError, match=r"can be at most|does not belong|is damaged") as caught:
        BYOLA.from_pretrained(model)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("size", [0, 2**20, 2**40, 2**63, 2**64 - 1])
def test_weights_with_a_header_of_any_size(model: Path, size: int) -> None:
    weights = (model / WEIGHTS).read_bytes()
    (model / WEIGHTS).write_bytes(struct.pack("<Q", size) + weights[8:])
    with memory_limit(), pytest.raises(ByolaError, match="is damaged"):
        BYOLA.from_pretrained(model)


def test_weights_that_claim_more_than_the_file_holds(model: Path) -> None:
    header = json.dumps({"fc.0.weight": {"dtype": "F32", "shape": [2**30, 2**10], "data_offsets": [0, 2**42]}}).encode()
    (model / WEIGHTS).write_bytes(struct.pack("<Q", len(header)) + header + bytes(100))
    with memory_limit(), pytest.raises(ByolaError, match="is damaged"):
        BYOLA.from_pretrained(model)


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


@pytest.mark.parametrize("depth", [2000, 200_000])
def test_json_that_is_deeper_than_any_stack(model: Path, tmp_path: Path, depth: int) -> None:
    (model / CONFIG).write_text(nested(depth))
    with pytest.raises(ByolaError):
        BYOLA.from_pretrained(model)
    for name in (PROVENANCE, STORE):
        folder = tmp_path / name
        folder.mkdir()
        (folder / name).write_text(nested(depth))
        with pytest.raises(ByolaError):
            read_store(folder) if name == PROVENANCE else AudioStore.open(folder)


# --- checkpoints and recipes ---


@pytest.mark.parametrize("kind", PICKLES)
def test_a_checkpoint_that_is_a_pickle(tmp_path: Path, trap: Path, kind: str) -> None:
    path = tmp_path / "last.pt"
    path.write_bytes(hostile_pickles(trap)[kind])
    with pytest.raises(ByolaError):
        load_checkpoint(path)
    assert not trap.exists()


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.mkdir [{trap}]",
        "encoder: !!python/object/apply:os.mkdir [{trap}]",
        "encoder: {{name: !!python/name:os.system }}",
        "encoder: !!python/object/new:os.mkdir [{trap}]",
        "encoder: !!python/module:os.{trap}",
        "!!python/object:tests.test_hostile.Trap {{folder: {trap}}}",
        "? !!python/object/apply:os.mkdir [{trap}]\n: 1",
    ],
)
def test_a_recipe_makes_no_objects(tmp_path: Path, trap: Path, text: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text.format(trap=trap))
    with pytest.raises(UsageError, match="is not valid YAML"):
        build(PretrainConfig, read_yaml(path), "the recipe")
    assert not trap.exists()


def test_a_recipe_that_grows_when_it_is_read(tmp_path: Path) -> None:
    """Ten lines, each nine times the one before."""
    lines = ["a0: &a0 x"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
    path = tmp_path / "recipe.yaml"
    for text in ("\n".join(lines), "a: &a [*a]", "a: &a {b: *a}"):
        path.write_text(text)
        with time_limit(), memory_limit(), pytest.raises(UsageError, match="stands for more than"):
            read_yaml(path)


def test_a_recipe_names_an_encoder_of_the_list(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("encoder: {name: os.system, options: {command: ls}}")
    config = build(PretrainConfig, read_yaml(path), "the recipe")
    with pytest.raises(UsageError, match="there is no encoder"):
        BYOLA(config.encoder.name, config.encoder.options, config.frontend, NormStats(0.0, 1.0))


# --- embedding stores ---


def embedding_store(folder: Path) -> Path:
    settings = {"model": "0" * 32, "level": "clip", "format": "npy"}
    with StoreWriter(folder, settings, {}, 2) as writer:
        writer.add("/data/a.wav", Stamp(1, 1), [(np.zeros(1), np.ones(1), np.ones((1, 2), np.float32))])
        writer.finish(bad_files=0)
    return folder


@pytest.mark.parametrize("kind", PICKLES)
@pytest.mark.parametrize("suffix", ["npy", "safetensors"])
def test_a_matrix_that_is_a_pickle(tmp_path: Path, trap: Path, kind: str, suffix: str) -> None:
    path = tmp_path / f"embeddings.{suffix}"
    path.write_bytes(hostile_pickles(trap)[kind])
    with pytest.raises(ByolaError, match="damaged"):
        open_matrix(path)
    assert not trap.exists()


@pytest.mark.parametrize("name", ["npy/../../secret.npy", "/etc/passwd", "npy\0", "csv", "", None, ["npy"], {}])
def test_a_store_names_no_file_of_its_own_choice(tmp_path: Path, name: Any) -> None:
    folder = embedding_store(tmp_path / "store")
    np.save(tmp_path / "secret.npy", np.ones((1, 2), np.float32))
    (folder / "embeddings.npy").unlink()
    (folder / "embeddings.npy").mkdir()  # a path through it would now be one
    provenance = json.loads((folder / PROVENANCE).read_text())
    provenance["settings"]["format"] = name
    (folder / PROVENANCE).write_text(json.dumps(provenance))
    with pytest.raises(UsageError, match="is not an embedding store"):
        read_store(folder)


def test_continuing_a_store_clears_nothing_away_that_lies_elsewhere(tmp_path: Path) -> None:
    folder = embedding_store(tmp_path / "store")
    home = tmp_path / "home"
    home.mkdir()
    (home / "thesis.tex").write_text("years of work")
    (folder / "parts").symlink_to(home)
    for overwrite in (False, True):
        with pytest.raises(UsageError, match="is a link"):
            StoreWriter(folder, {"model": "0" * 32, "level": "clip", "format": "npy"}, {}, 2, overwrite)
        assert (home / "thesis.tex").exists()
    (folder / "parts").unlink()
    (folder / "parts").mkdir()
    (folder / "parts" / "000000.f32").symlink_to(home / "thesis.tex")
    with pytest.raises(UsageError, match="is a link"):
        embedding_store(folder)
    assert (home / "thesis.tex").read_text() == "years of work"


def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(tmp_path: Path, model: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        (model / name).rename(model / "kept")
        os.mkfifo(model / name)
        with time_limit(5), pytest.raises(ByolaError):
            BYOLA.from_pretrained(model)
        (model / name).unlink()
        (model / "kept").rename(model / name)
    os.mkfifo(tmp_path / "index.parquet")
    with time_limit(5), pytest.raises(UsageError, match="it is no file"):
        AudioIndex.read(tmp_path / "index.parquet")
    os.mkfifo(tmp_path / "recipe.yaml")
    with time_limit(5), pytest.raises(UsageError):
        recipe_path("pretrain", str(tmp_path / "recipe.yaml"))
    for name in (PROVENANCE, ROWS, "embeddings.npy"):
        folder = embedding_store(tmp_path / name)
        (folder / name).unlink()
        os.mkfifo(folder / name)
        with time_limit(5), pytest.raises(ByolaError):
            read_store(folder)


# --- indexes and packed stores ---


@pytest.fixture
def sounds(tmp_path: Path, write_wav: Callable[..., Path]) -> Path:
    """A folder with sounds, beside which there is one that is nobody's business."""
    for number in range(3):
        write_wav(tmp_path / "sounds" / f"{number}.wav", 0.2, seed=number)
    write_wav(tmp_path / "secret.wav", 0.2, seed=9)
    return tmp_path / "sounds"


def rewrite(file: Path, **columns: Any) -> None:
    table = pq.read_table(file)
    for name, values in columns.items():
        place = table.schema.get_field_index(name)
        table = table.set_column(place, name, pa.array(values, table.schema.field(place).type))
    pq.write_table(table, file)


ESCAPES = ["../secret.wav", "x/../../secret.wav", "/etc/passwd", "..", "0.wav\0", "", "x/..", "./../secret.wav"]


@pytest.mark.parametrize("path", ESCAPES)
@pytest.mark.parametrize("column", ["path", "raw_path"])
def test_paths_of_an_index_stay_below_its_root(sounds: Path, tmp_path: Path, path: str, column: str) -> None:
    out = tmp_path / "index.parquet"
    scan([sounds], out, workers=1, progress=False)
    if column == "path":
        rewrite(out, path=[path, "1.wav", "2.wav"])
    else:
        rewrite(out, raw_path=[path.encode(), None, None])
    with pytest.raises(ByolaError, match="leads out of its root"):
        AudioIndex.read(out)
    with pytest.raises(ByolaError, match="leads out of its root"):
        pack([out], tmp_path / "store", workers=1, progress=False)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("root", ["", ".", "..", "sounds", "~", "\0", "/data\0"])
def test_a_root_is_an_absolute_folder(sounds: Path, tmp_path: Path, root: str) -> None:
    out = tmp_path / "index.parquet"
    scan([sounds], out, workers=1, progress=False)
    table = pq.read_table(out)
    place = table.schema.get_field_index("root")
    pq.write_table(table.set_column(place, "root", pa.array([root] * 3).dictionary_encode()), out)
    with pytest.raises(ByolaError, match="root that is not an absolute folder"):
        AudioIndex.read(out)


def test_an_index_reads_no_part_of_a_file_that_is_not_sound(sounds: Path, tmp_path: Path) -> None:
    """Offsets and sizes are an index's own: they open no more than its files, and those as sound alone."""
    out = tmp_path / "index.parquet"
    scan([sounds], out, workers=1, progress=False)
    for offset, size in ((0, 2**62), (2**62, 100), (2**63 - 1, 2**63 - 1), (10, 10), (0, 0)):
        (sounds / "x.tar").write_bytes(bytes(100))
        rewrite(out, path=["x.tar/0.wav", "1.wav", "2.wav"], offset=[offset, None, None], size=[size, None, None])
        clips = FileClips(AudioIndex.read(out), 16000)
        with memory_limit(), time_limit(), pytest.raises(AudioError):
            clips.read(0, 0, 1000)
    for name, value in (("offset", -1), ("size", -(2**63))):
        rewrite(out, **{name: [value, None, None]})
        with pytest.raises(ByolaError, match=f"impossible {name}"):
            AudioIndex.read(out)
        rewrite(out, **{name: [1, None, None]})


@pytest.mark.parametrize("path", ESCAPES)
def test_paths_of_a_packed_store_stay_below_its_root(sounds: Path, tmp_path: Path, path: str) -> None:
    folder = tmp_path / "store"
    pack([sounds], folder, workers=1, progress=False)
    rewrite(folder / CLIPS, path=[path, "1.wav", "2.wav"])
    with pytest.raises(ByolaError, match="leads out of its root"):
        AudioStore.open(folder)


@pytest.mark.parametrize("kind", PICKLES)
def test_a_shard_that_is_a_pickle(sounds: Path, tmp_path: Path, trap: Path, kind: str) -> None:
    folder = tmp_path / "store"
    pack([sounds], folder, workers=1, progress=False)
    (folder / "shards" / "00000.npy").write_bytes(hostile_pickles(trap)[kind])
    with pytest.raises(ByolaError, match="shard"):
        AudioStore.open(folder)
    damaged = AudioStore.open(folder, look_at_shards=False)
    assert damaged.verify()
    with pytest.raises(ByolaError, match="shard"):
        damaged.read(0, 10)
    assert not trap.exists()


def test_names_of_shards_come_from_nowhere_but_their_numbers(sounds: Path, tmp_path: Path) -> None:
    folder = tmp_path / "store"
    pack([sounds], folder, workers=1, progress=False)
    np.save(tmp_path / "secret.npy", np.ones(10_000, np.int16))
    description = json.loads((folder / STORE).read_text())
    for extra in ({"file": "../../secret.npy"}, {"path": "/etc/passwd"}, {"name": "../../secret"}):
        changed = {**description, "shards": [{**shard, **extra} for shard in description["shards"]], "folder": "/"}
        (folder / STORE).write_text(json.dumps(changed))
        store = AudioStore.open(folder)
        assert not (store.read(0, len(store.tape)) == 1).all()


# --- archives ---


def archive(path: Path, members: list[tuple[str, bytes, bytes]]) -> Path:
    """A tar of (name, type, data or the target of a link)."""
    with tarfile.open(path, "w") as tar:
        for name, kind, data in members:
            member = tarfile.TarInfo(name)
            member.type = kind
            if kind == tarfile.REGTYPE:
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
            else:
                member.linkname = data.decode()
                tar.addfile(member)
    return path


def test_an_archive_leads_nowhere(sounds: Path, tmp_path: Path) -> None:
    wav = (sounds / "0.wav").read_bytes()
    folder = tmp_path / "archives"
    folder.mkdir()
    archive(
        folder / "hostile.tar",
        [
            ("good.wav", tarfile.REGTYPE, wav),
            ("../../up.wav", tarfile.REGTYPE, wav),
            ("/etc/absolute.wav", tarfile.REGTYPE, wav),
            ("link.wav", tarfile.SYMTYPE, b"../secret.wav"),
            ("hard.wav", tarfile.LNKTYPE, b"/etc/passwd"),
            ("pipe.wav", tarfile.FIFOTYPE, b""),
            ("device.wav", tarfile.CHRTYPE, b""),
            ("folder.wav", tarfile.DIRTYPE, b""),
        ],
    )
    before = sorted(tmp_path.rglob("*"))
    with time_limit():
        found = scan([folder], tmp_path / "index.parquet", workers=1, progress=False).index
    made = set(tmp_path.rglob("*")) - set(before)
    assert {path.name for path in made} <= {"index.parquet"}
    usable = [found.name(row) for row in range(len(found)) if found.column("error")[row].as_py() is None]
    assert usable == [str(folder / "hostile.tar" / "good.wav")]
    reasons = [reason for _, reason in found.problems()]
    assert len(reasons) == 6 and all(reason.startswith("unsupported") for reason in reasons)


# --- audio ---


def test_embedding_hostile_names_makes_no_file_but_the_store(
    model: Path, tmp_path: Path, write_wav: Callable[..., Path]
) -> None:
    """Names are data: in tables and reports they are quoted, and as formulas of spreadsheets they are not ours."""
    names = ["=cmd|' '!A1.wav", "a\r\nb.wav", "$(touch x).wav", "`touch x`.wav", "%s%n.wav", "{0.__class__}.wav"]
    for number, name in enumerate(names):
        write_wav(tmp_path / "odd" / name, 0.3, seed=number)
        (tmp_path / "odd" / f"bad {name}").write_bytes(b"no sound")
    store = embed(BYOLA.from_pretrained(model), [tmp_path / "odd"], tmp_path / "store", export="csv", progress=False)
    assert sorted(store.rows["file"].to_pylist()) == sorted(str(tmp_path / "odd" / name) for name in names)
    assert store.provenance["counts"]["bad_files"] == len(names)
    assert {path.name for path in tmp_path.iterdir()} == {"model", "odd", "store"}


def test_nothing_is_imported_because_a_file_names_it(model: Path) -> None:
    before = set(sys.modules)
    change_config(model, provenance={"module": "antigravity", "auto_map": {"AutoModel": "this.Model"}})
    BYOLA.from_pretrained(model)
    gc.collect()
    assert not {"antigravity", "this"} & (set(sys.modules) - before)
