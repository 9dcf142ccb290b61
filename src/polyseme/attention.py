"""Self-attention, as a textbook page: scores, softmax, weighted sum.

Every function takes NumPy arrays or torch tensors (through the Python array API standard,
https://data-apis.org/array-api) and gives back the same kind, dtype and device; on torch
tensors gradients flow. Shapes are written with n = words of the text, m = words attended to,
d = width of a vector, h = heads; leading dimensions ``...`` are batches.

- ``attend``: softmax(scale * Q K^T + bias) V, the mechanism itself (Vaswani et al. 2017, eq. 1,
  https://arxiv.org/abs/1706.03762).
- ``self_attend``: the parameter-free form. Queries, keys and values are the words themselves.
- ``multi_head_attention``: the learned form. Three linear maps make the queries, keys and
  values, each head attends by itself, a fourth map joins the heads (section 3.2.2 there).

When no weights are asked for, queries are taken in blocks (or torch's own kernel does it), so
memory grows linearly with the length of a text and never with its square.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from array_api_compat import array_namespace, is_torch_array
from array_api_compat import device as device_of

Array = Any
"""A NumPy array or a torch tensor."""

_SCORES_AT_ONCE = 1 << 23
"""Scores of one matrix that are held at a time: 32 MB in float32."""

_LEAST_ROWS = 96
"""Queries of a block: fewer make thin matrices, for which a BLAS is several times slower."""


def softmax(scores: Array, mask: Array | None = None) -> Array:
    """Turn scores into weights that sum to one along the last axis.

    Args:
        scores: (..., m) of a floating dtype.
        mask: boolean, broadcastable to ``scores``; False where a weight must be zero. A row
            without any True gets zero weights only, since there is nothing to attend to.

    Returns:
        (..., m) weights of the scores' dtype.

    Example:
        >>> import numpy as np
        >>> softmax(np.asarray([0.0, np.log(3.0)])).round(2).tolist()
        [0.25, 0.75]
    """
    xp = array_namespace(scores)
    if scores.shape[-1] == 0:
        return scores
    if mask is None:
        weights = _exp(scores - xp.max(scores, axis=-1, keepdims=True))
        return _divided(weights, xp.sum(weights, axis=-1, keepdims=True))
    minus_infinity = xp.asarray(-math.inf, dtype=scores.dtype, device=device_of(scores))
    scores = xp.where(mask, scores, minus_infinity)
    peak = xp.max(scores, axis=-1, keepdims=True)
    # The mask says which rows see nothing. The scores would not do: those of a row that sees
    # something can all overflow to minus infinity, and that must not pass for zero weights.
    sees = xp.any(mask, axis=-1, keepdims=True)
    weights = _exp(scores - xp.where(sees, peak, xp.zeros_like(peak)))
    total = xp.sum(weights, axis=-1, keepdims=True)
    return _divided(weights, xp.where(sees, total, xp.ones_like(total)))


def attend(
    query: Array,
    key: Array,
    value: Array,
    *,
    scale: float | None = None,
    bias: Array | None = None,
    mask: Array | None = None,
    causal: bool = False,
    return_weights: bool = False,
) -> Array:
    """Let every query become the weighted sum of the values whose keys it resembles.

    Computes ``softmax(scale * query @ key.T + bias) @ value``. float16 and bfloat16 are computed
    in float32 and rounded once, at the end.

    Args:
        query: (..., n, d).
        key: (..., m, d).
        value: (..., m, d_value).
        scale: factor of the dot products, the inverse of a temperature; 1/sqrt(d) by default.
        bias: added to the scaled scores; broadcastable to (..., n, m).
        mask: boolean, broadcastable to (..., n, m), so (m,) masks keys; False hides a key.
            A query that sees no key gets a zero vector and zero weights.
        causal: let word i see the words 0..i only; needs n == m.
        return_weights: also give the weights, (..., n, m), from the same pass.

    Returns:
        (..., n, d_value), or a pair of that and the weights.

    Raises:
        TypeError: an array is not of a floating dtype.
        ValueError: shapes do not fit, an input holds NaN or infinity (the message says where), or
            the scores overflow the dtype.

    Example:
        >>> import numpy as np
        >>> words = np.asarray([[1.0, 0.0], [0.0, 1.0]])
        >>> mixed, weights = attend(words, words, words, scale=math.log(3), return_weights=True)
        >>> weights.round(2).tolist()
        [[0.75, 0.25], [0.25, 0.75]]
    """
    for name, array in (("query", query), ("key", key), ("value", value)):
        _check_matrix(name, array)
    if query.shape[-1] != key.shape[-1]:
        raise ValueError(
            f"query is {query.shape[-1]} wide and key {key.shape[-1]}: they must be equally wide"
        )
    if key.shape[-2] != value.shape[-2]:
        raise ValueError(
            f"there are {key.shape[-2]} keys and {value.shape[-2]} values: each key needs one value"
        )
    if causal and query.shape[-2] != key.shape[-2]:
        raise ValueError(
            f"causal attention needs as many queries as keys, not {query.shape[-2]} and "
            f"{key.shape[-2]}"
        )
    if bias is not None:
        _check_finite("bias", bias)
    _check_fits(query.shape[-2], key.shape[-2], bias=bias, mask=mask)
    with _overflow_in_silence():
        result = attend_unchecked(
            query,
            key,
            value,
            scale=1 / math.sqrt(max(1, query.shape[-1])) if scale is None else scale,
            bias=bias,
            mask=mask,
            causal=causal,
            return_weights=return_weights,
        )
    _check_result(result[0] if return_weights else result)
    return result


def attend_unchecked(
    query: Array,
    key: Array,
    value: Array,
    *,
    scale: float,
    bias: Array | None = None,
    mask: Array | None = None,
    causal: bool = False,
    include_self: bool = True,
    own_score: float | None = None,
    return_weights: bool = False,
) -> Array:
    """``attend`` without its checks, for callers that know their arrays to be finite and to fit.

    With ``include_self=False`` query i does not see key i; ``own_score`` takes the place of the
    scaled dot product of query i and key i.
    """
    dtype = value.dtype
    query, key, value = (_computable(array) for array in (query, key, value))
    if is_torch_array(value) and include_self and own_score is None and not return_weights:
        from polyseme.execution import fused

        options: dict[str, Any] = {"scale": scale, "bias": bias, "mask": mask, "causal": causal}
        if fused.fits(query, key, value, **options):
            return fused.attend(query, key, value, **options).to(dtype)
    xp = array_namespace(query, key, value)
    n, m = query.shape[-2], key.shape[-2]
    transposed_key = xp.matrix_transpose(key)

    def rows(start: int, stop: int) -> tuple[Array, Array]:
        scores = xp.matmul(query[..., start:stop, :] * scale, transposed_key)
        if own_score is not None:
            row = xp.arange(stop - start, device=device_of(query))
            scores[..., row, row + start] = own_score
        if bias is not None:
            scores = scores + _rows_of(_computable(bias), start, stop, n)
        visible = None if mask is None else _rows_of(mask, start, stop, n)
        if causal or not include_self:
            index = xp.arange(m, device=device_of(query))
            own = index[start:stop, None]
            seen = index <= own if causal else index != own
            if not include_self:
                seen = seen & (index != own)
            visible = seen if visible is None else visible & seen
        weights = softmax(scores, visible)
        return xp.matmul(weights, value), weights

    # The block depends on this text alone, so that its neighbours in a batch change no bit.
    block = n if return_weights else max(_LEAST_ROWS, _SCORES_AT_ONCE // max(1, m))
    if n <= block:
        mixed, weights = rows(0, n)
        mixed = xp.astype(mixed, dtype, copy=False)
        return (mixed, xp.astype(weights, dtype, copy=False)) if return_weights else mixed
    blocks = [rows(start, min(start + block, n))[0] for start in range(0, n, block)]
    return xp.astype(xp.concat(blocks, axis=-2), dtype, copy=False)


def self_attend(
    vectors: Array,
    *,
    temperature: float = 1.0,
    normalize: bool = True,
    include_self: bool = True,
    own_similarity: float | None = None,
    frequency_weights: Array | None = None,
    center: Array | None = None,
    mask: Array | None = None,
    causal: bool = False,
    return_weights: bool = False,
) -> Array:
    """Contextual vectors without any parameter: each word a weighted sum of its text's words.

    Word i becomes ``sum_j w_ij v_j`` with ``w_ij ~ f_j exp(v_i . v_j / temperature)`` and weights
    that sum to one over j. Word order plays no part.

    Args:
        vectors: (..., n, d), one row a word.
        temperature: what the dot products are divided by; a low one sharpens the weights.
        normalize: compare unit vectors, so the dot product is a cosine. The weighted sum is
            always taken over the vectors themselves.
        include_self: may a word attend to itself? If not, a lone word has nothing to attend to
            and becomes a zero vector.
        own_similarity: what a word's dot product with itself is taken for; as it is if None. A word
            is always most similar to itself, so 0 leaves more weight to its context.
        frequency_weights: (..., n) positive factors f of the words as keys, for example
            a / (a + p) of a word of probability p (Arora et al. 2017,
            https://openreview.net/forum?id=SyK00v5xx).
        center: (d,) vector that is subtracted from every word first, for example the mean of the
            vocabulary (Mu and Viswanath 2018, https://arxiv.org/abs/1702.01417).
        mask: boolean, broadcastable to (..., n, n); False hides a word.
        causal: let word i see the words 0..i only.
        return_weights: also give the weights, (..., n, n), from the same pass.

    Returns:
        (..., n, d), or a pair of that and the weights.

    Raises:
        TypeError: an array is not of a floating dtype.
        ValueError: a temperature or frequency weight that is not positive, shapes that do not
            fit, NaN or infinity in the input, scores that overflow the dtype.

    Example:
        >>> import numpy as np
        >>> words = np.asarray([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        >>> self_attend(words, temperature=1 / math.log(2)).round(2).tolist()
        [[0.8, 0.2], [0.8, 0.2], [0.5, 0.5]]
    """
    _check_matrix("vectors", vectors)
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}: it must be above 0")
    _check_fits(vectors.shape[-2], vectors.shape[-2], mask=mask)
    xp = array_namespace(vectors)
    dtype = vectors.dtype
    vectors = _computable(vectors)
    if center is not None:
        _check_finite("center", center)
    log_prior = None
    if frequency_weights is not None:
        _check_finite("frequency_weights", frequency_weights)
        if not bool(xp.all(frequency_weights > 0)):
            raise ValueError("frequency_weights must all be above 0")
        log_prior = xp.log(_computable(frequency_weights))
    with _overflow_in_silence():
        mixed = self_attend_unchecked(
            vectors if center is None else vectors - _computable(center),
            temperature=temperature,
            normalize=normalize,
            include_self=include_self,
            own_similarity=own_similarity,
            log_prior=log_prior,
            mask=mask,
            causal=causal,
            return_weights=return_weights,
        )
        parts = mixed if return_weights else (mixed,)
        parts = tuple(xp.astype(part, dtype, copy=False) for part in parts)
    _check_result(parts[0])
    return parts if return_weights else parts[0]


def self_attend_unchecked(
    vectors: Array,
    *,
    temperature: float,
    normalize: bool,
    include_self: bool,
    own_similarity: float | None = None,
    log_prior: Array | None = None,
    mask: Array | None = None,
    causal: bool = False,
    return_weights: bool = False,
) -> Array:
    """``self_attend`` without its checks, with the logarithms of the frequency weights."""
    compared = unit(vectors) if normalize else vectors
    keys_alone = mask is None or mask.ndim < 2 or mask.shape[-2] == 1
    if normalize and keys_alone and not (causal or return_weights):
        from polyseme.execution import bounded

        if bounded.fits(vectors, temperature, own_similarity):
            return bounded.self_attend(
                compared,
                vectors,
                temperature=temperature,
                include_self=include_self,
                own_similarity=own_similarity,
                factors=_key_factors(log_prior, mask),
            )
    return attend_unchecked(
        compared,
        compared,
        vectors,
        scale=1 / temperature,
        bias=None if log_prior is None else log_prior[..., None, :],
        mask=mask,
        causal=causal,
        include_self=include_self,
        own_score=None if own_similarity is None else own_similarity / temperature,
        return_weights=return_weights,
    )


def linear(states: Array, weight: Array, bias: Array | None = None) -> Array:
    """A linear map of every row: (..., d_in) by a weight (d_out, d_in) to (..., d_out)."""
    xp = array_namespace(states)
    mapped = xp.matmul(states, xp.matrix_transpose(weight))
    return mapped if bias is None else mapped + bias


def attend_heads(
    query: Array,
    key: Array,
    value: Array,
    *,
    heads: int,
    scale: float | None = None,
    **options: Any,
) -> Array:
    """Attend in several heads: the width is cut into ``heads`` parts, each attends by itself.

    Args:
        query: (..., n, h * head_dim).
        key: (..., m, h * head_dim).
        value: (..., m, h * head_dim).
        heads: h.
        scale: 1/sqrt(head_dim) by default.
        options: bias, mask, causal and return_weights of ``attend``, against (..., h, n, m).

    Returns:
        (..., n, h * head_dim), the heads side by side, or a pair of that and the weights.
    """
    xp = array_namespace(query)

    def split(array: Array) -> Array:
        parts = xp.reshape(array, (*array.shape[:-1], heads, array.shape[-1] // heads))
        return xp.moveaxis(parts, -2, -3)

    head_dim = query.shape[-1] // heads
    mixed = attend_unchecked(
        split(query),
        split(key),
        split(value),
        scale=1 / math.sqrt(head_dim) if scale is None else scale,
        **options,
    )
    weights = None
    if options.get("return_weights"):
        mixed, weights = mixed
    joined = xp.reshape(xp.moveaxis(mixed, -3, -2), query.shape)
    return joined if weights is None else (joined, weights)


def multi_head_attention(
    states: Array,
    parameters: Mapping[str, Array],
    *,
    heads: int,
    mask: Array | None = None,
    causal: bool = False,
    bias: Array | None = None,
    return_weights: bool = False,
    linear: Callable[..., Array] = linear,
) -> Array:
    """Learned self-attention: what a word asks, offers and says are three maps of its vector.

    Args:
        states: (..., n, d).
        parameters: ``query.weight``, ``key.weight``, ``value.weight`` (h * head_dim, d) and
            ``output.weight`` (d, h * head_dim), each with a ``.bias`` if it has one.
        heads: h; the width of the maps must be a multiple of it.
        mask: boolean, broadcastable to (..., h, n, n): (n,) masks keys; False hides one.
        causal: let word i see the words 0..i only.
        bias: added to the scaled scores; broadcastable to (..., h, n, n).
        return_weights: also give the weights, (..., h, n, n), from the same pass.
        linear: how a linear map is computed.

    Returns:
        (..., n, d), or a pair of that and the weights.

    Raises:
        KeyError: a map is missing from ``parameters``.
        TypeError: the states are not of a floating dtype.
        ValueError: the width is not a multiple of the heads, a mask or bias that does not fit, NaN
            or infinity in an input, or maps and scores that overflow the dtype.

    Example:
        >>> import numpy as np
        >>> names = ("query", "key", "value", "output")
        >>> identity = {f"{name}.weight": np.eye(4) for name in names}
        >>> multi_head_attention(np.ones((3, 4)), identity, heads=2).tolist()[0]
        [1.0, 1.0, 1.0, 1.0]
    """
    _check_matrix("states", states)
    width = parameters["query.weight"].shape[0]
    if heads < 1 or width % heads:
        raise ValueError(f"heads is {heads}: queries of width {width} cannot be cut into that many")

    _check_fits(states.shape[-2], states.shape[-2], bias=bias, mask=mask)
    if bias is not None:
        _check_finite("bias", bias)
    for name, array in parameters.items():
        _check_finite(name, array)
    xp = array_namespace(states)

    def mapped(name: str, array: Array) -> Array:
        map_bias = parameters.get(f"{name}.bias")
        return linear(
            array,
            _computable(parameters[f"{name}.weight"]),
            None if map_bias is None else _computable(map_bias),
        )

    with _overflow_in_silence():
        inputs = _computable(states)
        result = attend_heads(
            mapped("query", inputs),
            mapped("key", inputs),
            mapped("value", inputs),
            heads=heads,
            mask=mask,
            causal=causal,
            bias=bias,
            return_weights=return_weights,
        )
        attended, *weights = result if return_weights else (result,)
        parts = (mapped("output", attended), *weights)
        parts = tuple(xp.astype(part, states.dtype, copy=False) for part in parts)
    _check_result(parts[0])
    return parts if return_weights else parts[0]


def _key_factors(log_prior: Array | None, mask: Array | None) -> Array | None:
    """What keys weigh before any score: exp(log_prior), and 0 where the mask hides one."""
    factors = None if log_prior is None else array_namespace(log_prior).exp(log_prior)
    if mask is None:
        return factors
    seen = mask if mask.ndim < 2 else mask[..., 0, :]
    return seen if factors is None else factors * seen


def unit(vectors: Array) -> Array:
    """Scale every row to length one; a zero row stays zero."""
    xp = array_namespace(vectors)
    if vectors.shape[-1] == 0:
        return vectors
    with np.errstate(over="ignore", under="ignore"):
        square = xp.vecdot(vectors, vectors)[..., None]
        tiny = xp.finfo(vectors.dtype).smallest_normal
        in_range = (square > tiny) & xp.isfinite(square)
        if not bool(xp.all(in_range)):
            # Of rows whose squares leave the dtype's range, the largest entry is divided out.
            peak = xp.max(xp.abs(vectors), axis=-1, keepdims=True)
            vectors = vectors / xp.where(in_range | (peak == 0), xp.ones_like(peak), peak)
            square = xp.vecdot(vectors, vectors)[..., None]
    return vectors / xp.sqrt(xp.where(square > 0, square, xp.ones_like(square)))


def _exp(array: Array) -> Array:
    """The exponential; a NumPy array is overwritten, which saves memory that gradients need."""
    if isinstance(array, np.ndarray):
        return np.exp(array, out=array)
    return array_namespace(array).exp(array)


def _divided(array: Array, divisor: Array) -> Array:
    """The quotient; a NumPy array is overwritten."""
    if isinstance(array, np.ndarray):
        return np.divide(array, divisor, out=array)
    return array / divisor


def _computable(array: Array) -> Array:
    """The array in a dtype that keeps sums exact enough: half precision becomes float32."""
    xp = array_namespace(array)
    if xp.isdtype(array.dtype, "real floating") and xp.finfo(array.dtype).bits < 32:
        return xp.astype(array, xp.float32)
    return array


def _rows_of(array: Array, start: int, stop: int, n: int) -> Array:
    """Rows of a bias or mask that is broadcastable to (..., n, m)."""
    if array.ndim < 2 or array.shape[-2] != n or n == 1:
        return array
    return array[..., start:stop, :]


def _check_matrix(name: str, array: Array) -> None:
    xp = array_namespace(array)
    if not xp.isdtype(array.dtype, "real floating"):
        raise TypeError(f"{name} is of dtype {array.dtype}: it must be a floating one")
    if array.ndim < 2:
        raise ValueError(f"{name} has shape {tuple(array.shape)}: it needs (..., words, width)")
    _check_finite(name, array)


def _check_finite(name: str, array: Array) -> None:
    xp = array_namespace(array)
    finite = xp.isfinite(array)
    if bool(xp.all(finite)):
        return
    host = np.asarray(finite.detach().cpu() if is_torch_array(finite) else finite)
    where = tuple(int(i) for i in np.argwhere(~host)[0])
    raise ValueError(f"{name} holds {float(array[where])} at {list(where)}: all must be finite")


def _check_fits(n: int, m: int, **arrays: Array | None) -> None:
    """Refuse a bias or mask whose last axes cannot be stretched to (n, m)."""
    for name, array in arrays.items():
        if array is None:
            continue
        rows, columns = (1, 1, *array.shape)[-2:]
        if rows not in (1, n) or columns not in (1, m):
            raise ValueError(
                f"{name} has shape {tuple(array.shape)}: it must be broadcastable to "
                f"(..., {n}, {m})"
            )


def _overflow_in_silence() -> np.errstate:
    """Let overflow pass without NumPy's warnings, where ``_check_result`` makes it an error."""
    return np.errstate(over="ignore", invalid="ignore")


def _check_result(mixed: Array) -> None:
    """The inputs are finite, so a result that is not has overflowed on its way."""
    xp = array_namespace(mixed)
    if not bool(xp.all(xp.isfinite(mixed))):
        raise ValueError(
            f"the scores or their sums overflow {mixed.dtype}: scale the input down, lower the "
            "scale (or raise the temperature), or use a wider dtype"
        )
