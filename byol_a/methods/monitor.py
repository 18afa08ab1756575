"""Watching a representation: collapse, rank, alignment and uniformity, without labels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from byol_a.methods.regularizers.uniformity import uniformity_loss


@torch.no_grad()
def collapse_meter(projections: Tensor) -> Tensor:
    """Mean over dimensions of the std of the L2-normalised rows of (B, P), times sqrt(P).

    Near 1 for rows spread over the sphere, near 0 where all rows point one way. Scalar; 0 for a single row.
    """
    rows = F.normalize(projections.float(), dim=-1)
    return rows.std(dim=0, correction=0).mean() * rows.shape[-1] ** 0.5


@torch.no_grad()
def effective_rank(embeddings: Tensor) -> Tensor:
    """exp of the entropy of the covariance's normalised eigenvalues, for (B, D); between 1 and min(B - 1, D).

    (Roy and Vetterli 2007.) Computed from the smaller of the two Gram matrices. Scalar; 0 if all rows are equal.
    """
    centred = embeddings.float() - embeddings.float().mean(dim=0)
    gram = centred @ centred.T if centred.shape[0] <= centred.shape[1] else centred.T @ centred
    eigenvalues = torch.linalg.eigvalsh(gram.double()).clamp(min=0)
    total = eigenvalues.sum()
    share = eigenvalues / total.clamp(min=torch.finfo(torch.float64).tiny)
    entropy = -torch.special.xlogy(share, share).sum()
    return torch.where(total > 0, entropy.exp(), torch.zeros_like(entropy)).float()


@torch.no_grad()
def alignment(projections1: Tensor, projections2: Tensor) -> Tensor:
    """`mean ||f(x) - f(x')||^2` of L2-normalised pairs (Wang and Isola 2020); 0 to 4, lower is closer."""
    difference = F.normalize(projections1.float(), dim=-1) - F.normalize(projections2.float(), dim=-1)
    return difference.square().sum(dim=-1).mean()


@torch.no_grad()
def uniformity(projections: Tensor) -> Tensor:
    """`log mean_{i != j} exp(-2 ||z_i - z_j||^2)` of L2-normalised rows (Wang and Isola 2020); 0 is collapsed."""
    return uniformity_loss(projections)
