"""Fourier series of real periodic fields in one, two or three dimensions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch
from torch import Tensor

from leads.errors import SettingsError, ShapeError
from leads.numerics.resizing import resize_half, resize_whole

CPU = torch.device("cpu")


@dataclass(frozen=True)
class SpectralGrid:
    """A periodic box with real FFTs over the last ``len(shape)`` axes of a field; leading axes are a batch.

    A field has shape ``(..., *shape)``. Its coefficients ``xh`` have shape ``(..., *spectral_shape)``: whole axes in the
    order of ``numpy.fft.fftfreq`` and a half-length last one, not normalised (``xh = sum_x x exp(-i k x)``; the mean of
    a field is ``xh[0] / prod(shape)``).

    Multipliers are computed in float64 and kept. Real ones times complex coefficients are promoted at every product;
    in a loop, cast them once (``g.laplacian.to(xh.dtype)``). A grid made by the constructor holds them on the CPU; ``to(x)`` gives
    the same grid with its multipliers on the device and in the precision of ``x``. Take it once per call::

        g = grid.to(x)
        dx = g.inverse(g.derivative(-1) * g.forward(x))

    Args:
        shape: points a side, 1 to 3 axes, even or odd, at least 2.
        lengths: physical side lengths.
        device, dtype: where the multipliers lie; set by :meth:`to`.

    Raises:
        SettingsError: sides that are too few, too many or not positive.
    """

    shape: tuple[int, ...]
    lengths: tuple[float, ...]
    device: torch.device = CPU
    dtype: torch.dtype = torch.float64

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))
        object.__setattr__(self, "lengths", tuple(float(length) for length in self.lengths))
        if not 1 <= len(self.shape) <= 3 or len(self.shape) != len(self.lengths):
            raise SettingsError(
                f"A spectral grid has 1 to 3 axes and one length for each, got shape {self.shape} and lengths {self.lengths}."
            )
        if min(self.shape) < 2 or not all(0 < length < math.inf for length in self.lengths):
            raise SettingsError(
                f"A spectral grid needs at least 2 points and a positive length a side, got shape {self.shape} and "
                f"lengths {self.lengths}."
            )

    def to(self, like: Tensor) -> SpectralGrid:
        """This grid with multipliers on the device and in the real precision of ``like`` (real or complex).

        Raises:
            SettingsError: a tensor of whole numbers.
        """
        dtype = like.dtype.to_real()
        if not dtype.is_floating_point:
            raise SettingsError(f"Spectral multipliers are real or complex numbers; got a tensor of {like.dtype}.")
        if dtype == self.dtype and like.device == self.device:
            return self
        return _placed(self.shape, self.lengths, like.device, dtype)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def axes(self) -> tuple[int, ...]:
        """The axes of a field that are transformed: ``(-ndim, ..., -1)``."""
        return tuple(range(-self.ndim, 0))

    @property
    def spectral_shape(self) -> tuple[int, ...]:
        """Shape of the half spectrum."""
        return (*self.shape[:-1], self.shape[-1] // 2 + 1)

    @property
    def spacing(self) -> tuple[float, ...]:
        """Distance of neighbouring points along each axis."""
        return tuple(length / n for length, n in zip(self.lengths, self.shape, strict=True))

    def coordinates(self, axis: int) -> Tensor:
        """Positions ``0, L/n, 2 L/n, ...`` along ``axis``, shape ``(shape[axis],)``."""
        return self._place(np.arange(self.shape[axis]) * self.spacing[axis])

    # Transforms.

    def forward(self, x: Tensor) -> Tensor:
        """Coefficients of real fields, ``(..., *shape)`` to ``(..., *spectral_shape)``.

        Raises:
            ShapeError: the last axes are not the grid's.
        """
        if tuple(x.shape[-self.ndim :]) != self.shape:
            raise ShapeError(f"A field on this grid has shape (..., {_commas(self.shape)}), got {tuple(x.shape)}.")
        return torch.fft.rfftn(x, dim=self.axes)

    def inverse(self, xh: Tensor) -> Tensor:
        """Real fields of coefficients, ``(..., *spectral_shape)`` to ``(..., *shape)``.

        Raises:
            ShapeError: the last axes are not those of the half spectrum.
        """
        self._check(xh)
        return torch.fft.irfftn(xh, s=self.shape, dim=self.axes)

    # Multipliers; each broadcasts against coefficients.

    @cached_property
    def k(self) -> tuple[Tensor, ...]:
        """Wavenumber ``2 pi n / L`` along each axis, shaped to broadcast: for two axes ``(n, 1)`` and ``(1, m // 2 + 1)``.

        The Nyquist mode of an even axis is negative on whole axes and positive on the last one.
        """
        return tuple(self._place(k) for k in self._k)

    @cached_property
    def k2(self) -> Tensor:
        """``|k|^2``, shape ``spectral_shape``."""
        return self._place(self._k2)

    def derivative(self, axis: int, order: int = 1) -> Tensor:
        """Symbol ``(i k)^order`` of a derivative along ``axis`` (of the grid; -1 is the last), complex.

        Odd derivatives of the Nyquist mode of an even axis vanish: on the grid's points it is a cosine at its extrema.

        Raises:
            SettingsError: the grid has no such axis, or an order below 1.
        """
        if not -self.ndim <= axis < self.ndim or order < 1:
            raise SettingsError(
                f"A derivative needs an axis from {-self.ndim} to {self.ndim - 1} and an order of at least 1, "
                f"got axis {axis} and order {order}."
            )
        key = (axis % self.ndim, order)
        if key not in self._derivatives:
            n = self.shape[axis]
            symbol = (1j * self._k[axis]) ** order
            if order % 2 and n % 2 == 0:
                symbol = np.where(self._n[axis] == n // 2, 0, symbol)
            self._derivatives[key] = self._place(symbol)
        return self._derivatives[key]

    @cached_property
    def laplacian(self) -> Tensor:
        """Symbol ``-|k|^2``. It keeps the Nyquist modes, which a first derivative taken twice loses."""
        return self._place(-self._k2)

    @cached_property
    def inverse_laplacian(self) -> Tensor:
        """Symbol ``-1 / |k|^2``, and 0 for the mean: the solution of zero mean."""
        k2 = self._k2
        return self._place(np.where(k2 > 0, -1 / np.where(k2 > 0, k2, 1), 0))

    @cached_property
    def dealias(self) -> Tensor:
        """Mask of the 2/3 rule: 1 where ``|n_i| < shape[i] / 3`` along every axis, else 0.

        Products of two masked fields, masked again, are then free of aliasing errors (Orszag, 1971). The common
        ``|n_i| <= (2/3) shape[i] / 2`` differs only for sides that 3 divides, where the mode ``n = shape / 3`` would
        receive its own square.
        """
        keep = [3 * n < size for n, size in zip(self._n, self.shape, strict=True)]
        return self._place(math.prod(keep) * np.ones(self.spectral_shape))

    def exponential_filter(self, strength: float = 23.6, cutoff: float = 0.65 * math.pi, order: float = 4) -> Tensor:
        """``exp(-strength (k* - cutoff)^order)`` where ``k* > cutoff``, else 1; ``k*^2 = sum_i (k_i dx_i)^2``.

        The defaults are those of pyqg (``filterfac`` 23.6), which multiplies the state by it after every step.

        Raises:
            SettingsError: a setting that is not positive.
        """
        if not (strength > 0 and cutoff > 0 and order > 0):
            raise SettingsError(
                f"The filter's strength, cutoff and order must be positive, got {strength}, {cutoff} and {order}."
            )
        key = (strength, cutoff, order)
        if key not in self._filters:
            star = np.sqrt(sum((k * dx) ** 2 for k, dx in zip(self._k, self.spacing, strict=True)))
            self._filters[key] = self._place(np.exp(-strength * np.maximum(star - cutoff, 0) ** order))
        return self._filters[key]

    @cached_property
    def mode_weights(self) -> Tensor:
        """How many modes of the whole spectrum each column of the half spectrum stands for: 1 or 2.

        Shape ``(1, ..., m // 2 + 1)``. Parseval: ``mean(x y) = sum(mode_weights Re(xh conj(yh))) / prod(shape)^2``.
        """
        return self._place(self._weights)

    # Quadratic quantities.

    def inner(self, xh: Tensor, yh: Tensor) -> Tensor:
        """Mean of the product of two fields over the box, from their coefficients; shape ``(...)``."""
        self._check(xh)
        self._check(yh)
        product = xh.real * yh.real + xh.imag * yh.imag
        return (product * self._parseval).sum(self.axes)

    @cached_property
    def bins(self) -> Tensor:
        """Wavenumbers ``dk, 2 dk, ...`` of the bins of :meth:`isotropic_spectrum`, ``dk = 2 pi / max(lengths)``.

        They reach the corner of the spectrum, so the outermost bins (beyond the shortest side's Nyquist wavenumber) are
        only partly filled.
        """
        return self._place(np.arange(1, self._shells.max() + 1) * self._dk)

    def isotropic_spectrum(self, xh: Tensor) -> Tensor:
        """Variance of a field in bins of ``|k|``, shape ``(..., len(bins))``.

        Bin ``b`` sums ``|xh|^2 / prod(shape)^2`` over all modes with ``|k|`` from ``bins[b] - dk / 2`` (inclusive)
        to ``bins[b] + dk / 2``. Every mode but the mean lies in one bin, so the sum over bins is exactly the variance
        ``mean(x^2) - mean(x)^2``. Divide by ``dk`` for a density, by 2 for an energy per unit mass.
        """
        self._check(xh)
        power = (xh.real.square() + xh.imag.square()) * self._parseval
        flat = power.flatten(-self.ndim)
        shells = flat.new_zeros((*flat.shape[:-1], len(self.bins) + 1))
        return shells.index_add(-1, self._shell_index, flat)[..., 1:]

    # Other resolutions.

    def resample(self, xh: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Coefficients of the same fields on ``shape`` points a side, ``(..., *half of shape)``.

        More points: the trigonometric interpolant; its Nyquist mode is shared evenly between ``+n/2`` and ``-n/2``, so
        that the field stays real and passes through the old points. Fewer points: modes beyond the new Nyquist are
        dropped and the two that meet in it are added, so that a field with modes up to the new Nyquist is reproduced at
        the new points exactly.

        Raises:
            ShapeError, SettingsError: coefficients or a shape that do not fit the grid.
        """
        self._check(xh)
        target = SpectralGrid(shape, self.lengths) if len(shape) == self.ndim else None
        if target is None:
            raise SettingsError(f"A field with {self.ndim} axes cannot be resampled to shape {tuple(shape)}.")
        for axis, n in zip(self.axes[:-1], target.shape[:-1], strict=True):
            xh = resize_whole(xh, axis, n)
        xh = resize_half(xh, self.axes[:-1], self.shape[-1], target.shape[-1])
        return xh * (math.prod(target.shape) / math.prod(self.shape))

    # What the multipliers are computed from, in float64 NumPy.

    @cached_property
    def _n(self) -> tuple[np.ndarray, ...]:
        """``|n|`` along each axis, shaped to broadcast."""
        return tuple(np.rint(np.abs(k) * length / (2 * np.pi)) for k, length in zip(self._k, self.lengths, strict=True))

    @cached_property
    def _k(self) -> tuple[np.ndarray, ...]:
        half = lambda axis: np.fft.rfftfreq if axis == self.ndim - 1 else np.fft.fftfreq  # noqa: E731
        waves = (half(a)(n) * n * 2 * np.pi / self.lengths[a] for a, n in enumerate(self.shape))
        return tuple(k.reshape(*(-1 if a == b else 1 for b in range(self.ndim))) for a, k in enumerate(waves))

    @cached_property
    def _k2(self) -> np.ndarray:
        return np.asarray(sum(k**2 for k in self._k))

    @cached_property
    def _weights(self) -> np.ndarray:
        weights = np.full(self.spectral_shape[-1], 2.0)
        weights[0] = 1
        if self.shape[-1] % 2 == 0:
            weights[-1] = 1
        return weights.reshape(*(1,) * (self.ndim - 1), -1)

    @cached_property
    def _parseval(self) -> Tensor:
        return self._place(self._weights / math.prod(self.shape) ** 2)

    @property
    def _dk(self) -> float:
        return 2 * math.pi / max(self.lengths)

    @cached_property
    def _shells(self) -> np.ndarray:
        """Bin of every mode; 0 is the mean."""
        # Modes on an edge go to the upper bin, whatever the rounding of the square root.
        return np.floor(np.sqrt(self._k2) / self._dk + 0.5 + 1e-9).astype(np.int64)

    @cached_property
    def _shell_index(self) -> Tensor:
        return self._place(self._shells.reshape(-1))

    @cached_property
    def _derivatives(self) -> dict[tuple[int, int], Tensor]:
        return {}

    @cached_property
    def _filters(self) -> dict[tuple[float, float, float], Tensor]:
        return {}

    def _place(self, values: np.ndarray) -> Tensor:
        dtype = {"f": self.dtype, "c": self.dtype.to_complex()}.get(values.dtype.kind)
        # A multiplier is kept, so it must not belong to the inference mode in which it happens to be needed first.
        with torch.inference_mode(False):
            return torch.from_numpy(np.ascontiguousarray(values)).to(self.device, dtype)

    def _check(self, xh: Tensor) -> None:
        if tuple(xh.shape[-self.ndim :]) != self.spectral_shape:
            raise ShapeError(
                f"Coefficients on a grid of {self.shape} points have shape (..., {_commas(self.spectral_shape)}), "
                f"got {tuple(xh.shape)}."
            )


@lru_cache(maxsize=64)
def _placed(
    shape: tuple[int, ...], lengths: tuple[float, ...], device: torch.device, dtype: torch.dtype
) -> SpectralGrid:
    return SpectralGrid(shape, lengths, device, dtype)


def _commas(shape: tuple[int, ...]) -> str:
    return ", ".join(map(str, shape))
