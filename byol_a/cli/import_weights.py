"""`byol-a import-weights`: published weights (.pth) to a model folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from byol_a.frontend import FrontendConfig
    from byol_a.normalize import NormStats


@click.command("import-weights")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Model folder to make.")
@click.option("--stats", type=float, nargs=2, metavar="MEAN STD", help="Normalisation statistics of the log-mels.")
@click.option(
    "--stats-from",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Compute the statistics from random 0.95 s crops of the audio in this folder.",
)
@click.option(
    "--frontend",
    type=click.Choice(["torch", "nnaudio", "torchaudio", "librosa"]),
    default="torch",
    show_default=True,
    help="Front-end the model will use.",
)
@click.option(
    "--mel-scale",
    type=click.Choice(["slaney", "htk"]),
    default="slaney",
    show_default=True,
    help="Mel scale the weights were trained with: slaney for the released ones, torchaudio's own is htk.",
)
@click.option(
    "--mel-norm",
    type=click.Choice(["slaney", "none"]),
    default="slaney",
    show_default=True,
    help="Normalisation of the mel filters: slaney for the released weights, none is torchaudio's default.",
)
@click.option("--sample-rate", type=int, default=16000, show_default=True, help="Sample rate, Hz.")
@click.option("--n-fft", type=int, default=1024, show_default=True, help="FFT size, samples.")
@click.option("--win-length", type=int, default=1024, show_default=True, help="Window, samples.")
@click.option("--hop-length", type=int, default=160, show_default=True, help="Hop, samples.")
@click.option("--f-min", type=float, default=60.0, show_default=True, help="Lowest frequency, Hz.")
@click.option("--f-max", type=float, default=7800.0, show_default=True, help="Highest frequency, Hz.")
@click.option("--licence", metavar="TEXT", help="Licence of the weights, written into the model.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the crops of --stats-from.")
@click.option("--overwrite", is_flag=True, help="Replace a model that is there.")
def import_weights(
    file: Path,
    out: Path,
    stats: tuple[float, float] | None,
    stats_from: Path | None,
    frontend: str,
    mel_scale: str,
    mel_norm: str,
    sample_rate: int,
    n_fft: int,
    win_length: int,
    hop_length: int,
    f_min: float,
    f_max: float,
    licence: str | None,
    seed: int,
    overwrite: bool,
) -> None:
    """Make a model folder from published BYOL-A weights.

    FILE is a .pth written by torch.save with an AudioNTT2020 (v1) or AudioNTT2022 (v2) encoder in it; version
    and size are recognised from the weights. They do not say how the log-mels were normalised, so give either
    --stats or --stats-from.
    """
    from byol_a.errors import UsageError

    if (stats is None) == (stats_from is None):
        raise UsageError(
            "weights do not say how their input was normalised; give either --stats MEAN STD, as used in "
            "their training, or --stats-from DIR with audio like theirs"
        )
    # What can be told without torch is told first, at once.
    from byol_a.files import refuse_existing, require_file

    require_file(file)
    refuse_existing(out, overwrite)

    from byol_a.encoders.import_weights import read_weights
    from byol_a.frontend import FrontendConfig
    from byol_a.model import BYOLA
    from byol_a.normalize import NormStats

    weights = read_weights(file)
    config = FrontendConfig(
        name=frontend,  # type: ignore[arg-type]
        sample_rate=sample_rate,
        n_fft=n_fft,
        win_length=win_length,
        hop_length=hop_length,
        n_mels=weights.n_mels,
        f_min=f_min,
        f_max=f_max,
        mel_scale=mel_scale,  # type: ignore[arg-type]
        mel_norm=None if mel_norm == "none" else "slaney",
    )
    provenance = {"method": "imported weights", "file": file.name}
    if stats is not None:
        normalization = NormStats(*stats)
    else:
        assert stats_from is not None
        normalization = _statistics(stats_from, config, seed)
        provenance["statistics"] = f"from crops of {stats_from.name}"
    model = BYOLA(weights.name, weights.options, config, normalization, licence, provenance)
    model.encoder.load_state_dict(weights.state)
    model.save_pretrained(out, overwrite=overwrite)
    click.echo(
        f"{out}: {weights.name}, D = {model.embedding_dim}, normalised by mean {normalization.mean:.4f} and "
        f"standard deviation {normalization.std:.4f}"
    )


def _statistics(folder: Path, config: FrontendConfig, seed: int) -> NormStats:
    from byol_a.data.crops import RandomCrops
    from byol_a.data.files import find_audio
    from byol_a.data.report import FileReport
    from byol_a.data.stats import crop_statistics
    from byol_a.frontend import LogMel

    report = FileReport()
    files = find_audio([folder], report)
    crops = RandomCrops(files, round(0.95 * config.sample_rate), config.sample_rate, seed)
    statistics = crop_statistics(crops, LogMel(config), report=report)
    if len(report):
        click.echo(report.summary(len(files)), err=True)
    return statistics
