"""What a student is told: each loss as its equation.

S is a student's vectors and T its teacher's, n rows of width d. Every loss is a sum over rows, so
that the parts of a batch that several processes hold add up to the loss of the whole.
"""

from __future__ import annotations

from typing import Any

import torch
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


def exactly(left: Tensor, right: Tensor) -> Tensor:
    """The product of two matrices of float32, even where products are bfloat16."""
    with torch.autocast(left.device.type, enabled=False):
        return left @ right


def compared(words: Tensor) -> Tensor:
    """(n, n) bool: which pairs of rows are two uses of one word.

    Example:
        >>> import torch
        >>> compared(torch.tensor([7, 7, 2])).tolist()
        [[False, True, False], [True, False, False], [False, False, False]]
    """
    return (words[:, None] == words) & ~torch.eye(len(words), dtype=torch.bool).to(words.device)


def same_sense(student: Tensor, words: Tensor, senses: Tensor) -> Tensor:
    """Sum over i, j, two uses of a word, of -log p_ij if they mean the same, else -log(1 - p_ij).

        p_ij = 1 / (1 + exp(-8 (cos(S_i, S_j) - 1/2)))

    So that one threshold of the cosine, of all words, tells whether a word means the same.

    Args:
        student: (n, d).
        words: (n,) which word each is a use of.
        senses: (n,) what it means there.

    Example:
        >>> import torch
        >>> student, word = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([0, 0])
        >>> right = same_sense(student, word, torch.tensor([3, 3]))
        >>> wrong = same_sense(student, word, torch.tensor([3, 4]))
        >>> round(right.item(), 2), round(wrong.item(), 2)
        (0.04, 8.04)
    """
    ours = F.normalize(student.float(), dim=-1)
    pairs = compared(words)
    logits = 8 * (exactly(ours, ours.T) - 0.5)[pairs]
    same = (senses[:, None] == senses)[pairs]
    return F.binary_cross_entropy_with_logits(logits, same.float(), reduction="sum")


def nearest_centroid(student: Tensor, words: Tensor, senses: Tensor) -> Tensor:
    """Sum over i of -log softmax over the senses k of i's word of 20 cos(S_i, C_k), at i's own.

    C_k is the mean of the S_j / |S_j| of sense k, without i itself: prototypical networks (Snell et
    al. 2017, https://arxiv.org/abs/1703.05175) with cosines, each use left out of its own prototype
    as in GE2E (Wan et al. 2018, https://arxiv.org/abs/1710.10467).

    Args:
        student: (n, d).
        words: (n,) which word each is a use of.
        senses: (n,) what it means there; no two words have one in common.

    Example:
        >>> import torch
        >>> student = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
        >>> word, senses = torch.zeros(4), torch.tensor([5, 5, 6, 6])
        >>> round(nearest_centroid(student, word, senses).item(), 3)
        0.0
    """
    ours = F.normalize(student.float(), dim=-1)
    names, sense = senses.unique(return_inverse=True)
    own = senses[:, None] == names
    sums = exactly(own.float().T, ours)
    cosines = exactly(ours, F.normalize(sums, dim=-1).T)
    without = F.normalize(sums[sense] - ours, dim=-1)
    cosines = torch.where(own, (ours * without).sum(dim=-1, keepdim=True), cosines)
    word_of_sense = torch.empty(len(names), dtype=words.dtype, device=words.device)
    word_of_sense[sense] = words
    others = words[:, None] != word_of_sense
    return F.cross_entropy((20 * cosines).masked_fill(others, -torch.inf), sense, reduction="sum")


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
