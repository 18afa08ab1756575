"""The README.md that a model folder carries: what the model is and how to use it."""

from __future__ import annotations

import json
from typing import Any

CARD = """\
---
library_name: byol-a
license: {licence_tag}
pipeline_tag: feature-extraction
tags:
- audio
- self-supervised-learning
- byol-a
---

# {encoder} audio encoder

Turns audio into embeddings of {embedding_dim} numbers, per clip or per frame. Use it with the Python
package `byol-a`:

```python
from byol_a import BYOLA

model = BYOLA.from_pretrained("path/to/this/folder")
clips = model.encode(["one.wav", "two.flac"])            # (2, {embedding_dim})
frames = model.encode("one.wav", level="frame")          # (T', {embedding_dim})
```

Audio of any sample rate and channel count is brought to mono at {sample_rate} Hz first.

| | |
|---|---|
| Encoder | {encoder} {options} |
| Front-end | {front_end} |
| Normalisation | mean {mean:.6g}, standard deviation {std:.6g} of the log-mels |
| Licence of the weights | {licence} |

## Provenance

```json
{provenance}
```

The methods: BYOL-A v1 (Niizumi et al. 2021, [arXiv 2103.06695](https://arxiv.org/abs/2103.06695)) and
v2 (Niizumi et al. 2023, [arXiv 2204.07402](https://arxiv.org/abs/2204.07402)).
"""


HUB_LICENCES = frozenset(
    {
        "apache-2.0",
        "mit",
        "cc0-1.0",
        "cc-by-4.0",
        "cc-by-sa-4.0",
        "cc-by-nc-4.0",
        "cc-by-nc-sa-4.0",
        "gpl-3.0",
    }
)


def model_card(config: dict[str, Any], embedding_dim: int) -> str:
    """The card of a model with this config.json."""
    front_end, encoder = config["frontend"], config["encoder"]
    licence = config["licence"]
    return CARD.format(
        # The hub knows a list of identifiers; anything else is "other" there, and spelled out in the table.
        licence_tag=licence.lower() if licence and licence.lower() in HUB_LICENCES else "other",
        encoder=encoder["name"],
        options=json.dumps(encoder["options"]) if encoder["options"] else "",
        embedding_dim=embedding_dim,
        sample_rate=front_end["sample_rate"],
        front_end=", ".join(f"{name} {value}" for name, value in front_end.items()),
        licence=licence or "not stated",
        provenance=json.dumps(config["provenance"], indent=2, ensure_ascii=False),
        **config["normalization"],
    )
