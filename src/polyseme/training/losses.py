"""What a student is told: each loss as its equation.

S is a student's vectors and T its teacher's, n rows of width d. Every loss is a sum over rows, so
that the parts of a batch that several processes hold add up to the loss of the whole.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F  # noqa: N812 -- the name that everyone knows it by

Tensor = Any


def cosine_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Sum over i of 1 - cos(S_i, T_i).

    The cosine loss of DistilBERT (Sanh et al. 2019, https://arxiv.org/abs/1910.01108, section 3).

    Args:
        student: (n, d).
        teacher: (n, d).

    Example:
        >>> import torch
        >>> cosine_distance(torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 1.0]])).item()
        1.0
    """
    return (1 - F.cosine_similarity(student.float(), teacher.float(), dim=-1)).sum()


def within_word(student: Tensor, teacher: Tensor, static: Tensor) -> Tensor:
    """Sum over i of 1 - cos(S_i / |S_i| - E_i, T_i / |T_i| - E_i).

    E_i is what the word's static vector alone tells of T_i / |T_i|. The cosine of whole vectors is
    mostly a matter of which word it is; that of these differences, of what the word means here.

    Args:
        student: (n, d).
        teacher: (n, d).
        static: (n, d).

    Example:
        >>> import torch
        >>> word, here = torch.tensor([[0.6, 0.0]]), torch.tensor([[0.6, 0.8]])
        >>> within_word(2 * here, here, word).item()
        0.0
        >>> round(within_word(torch.tensor([[0.6, -0.8]]), here, word).item(), 3)
        2.0
    """
    ours = F.normalize(student.float(), dim=-1) - static.float()
    theirs = F.normalize(teacher.float(), dim=-1) - static.float()
    return (1 - F.cosine_similarity(ours, theirs, dim=-1)).sum()


def masked_word(student: Tensor, table: Tensor, token_ids: Tensor) -> Tensor:
    """Sum over i of -log softmax(S_i E')[id_i]: which token stood where the mask is?

    BERT's masked language model (Devlin et al. 2019, https://arxiv.org/abs/1810.04805, section 3.1)
    with the static vectors E as its output (Press and Wolf 2017, https://arxiv.org/abs/1608.05859).

    Args:
        student: (n, d) states of masked tokens.
        table: (vocabulary, d) static vectors.
        token_ids: (n,) int64, the tokens that stood there.

    Example:
        >>> import torch
        >>> loss = masked_word(torch.zeros(3, 2), torch.ones(4, 2), torch.tensor([0, 1, 2]))
        >>> round(loss.exp().item(), 3)
        64.0
    """
    logits = student.float() @ table.float().T
    return F.cross_entropy(logits, token_ids, reduction="sum")
