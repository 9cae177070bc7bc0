"""Noise on tensors. Statistical tests: false-alarm rate at most 1e-6 each."""

from __future__ import annotations

import builtins
import ctypes
import math
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import binom, kstest, norm
from torch import Tensor

from sfumato import compiled
from sfumato.errors import InputError
from sfumato.learn import gaussian, noise
from sfumato.learn.noise import STREAM, CipherStream, add_gaussian, grid_step, standard_gaussian
from sfumato.privacy.noise import SECURE, SeededSource

ALARM = 1e-6
N = 400_000


class Words(SeededSource):
    """A source that gives chosen words."""

    def __init__(self, *words: int) -> None:
        super().__init__(0)
        self._words = words

    def bytes(self, n: int) -> builtins.bytes:
        return np.resize(np.array(self._words, np.int64), n // 8).tobytes()


def problems(drawn: Tensor) -> set[str]:
    """What tells these numbers from independent standard Gaussians."""
    values = drawn.double().numpy().ravel()
    n = len(values)
    found = set()
    if kstest(values, "norm").pvalue < ALARM / 10:
        found.add("shape")
    for edge in (2.0, 3.0, 4.0):
        beyond, p = int((np.abs(values) > edge).sum()), 2 * norm.sf(edge)
        if not binom.ppf(ALARM / 60, n, p) <= beyond <= binom.isf(ALARM / 60, n, p):
            found.add("tail")
    limit = norm.isf(ALARM / 100) / math.sqrt(n)
    scaled = (values - values.mean()) / max(values.std(), 1e-12)
    squares = (scaled**2 - 1) / math.sqrt(2)
    for lag in (1, 2, 7, n // 2, 1 << 15, 1 << 16):
        if lag < n:
            for series in (scaled, squares):
                pairs = series[lag:] * series[:-lag]
                # Products of squares have heavier tails: five times the normal limit.
                wide = limit * (1 if series is scaled else 5) * math.sqrt(n / len(pairs))
                if abs(pairs.mean()) > wide:
                    found.add("independence")
    # Two equal among n continuous draws on a grid of 2**-20: about n**2 2**-22 pairs at most.
    if len(np.unique(values)) < 0.8 * n:
        found.add("duplicates")
    return found


def test_draws_are_independent_standard_gaussians() -> None:
    assert problems(standard_gaussian(N, SeededSource(0))) == set()


@pytest.mark.usefixtures("_kernel")
def test_noise_on_tensors_is_independent_gaussian_across_tensors_blocks_and_calls() -> None:
    source = SeededSource(1)
    parts = []
    for _ in range(2):
        tensors = [torch.zeros(300, 500), torch.zeros(7), torch.zeros(50_000)]
        noisy = add_gaussian(tensors, [3.0, 5.0, 3.0], source)
        assert [t.shape for t in noisy] == [t.shape for t in tensors]
        scales = (3.0, 5.0, 3.0)
        parts += [t.ravel() / s for t, s in zip(noisy, scales, strict=True)]
    assert problems(torch.cat(parts)) == set()


@pytest.mark.parametrize(
    ("defect", "expected"),
    [
        (lambda z: z[:1].expand(N), "duplicates"),  # one draw for a whole array
        (lambda z: z * 1.02, "shape"),
        (lambda z: z.clamp(-3.5, 3.5), "tail"),
        (lambda z: torch.cat([z[: N // 2], z[: N // 2]]), "independence"),  # a block used twice
        (lambda z: torch.cat([z[: N // 2], -z[: N // 2]]), "independence"),
        # one magnitude under two independent signs
        (
            lambda z: torch.cat([z[: N // 2], z[: N // 2].abs() * z[N // 2 :].sign()]),
            "independence",
        ),
    ],
)
def test_the_same_test_sees_planted_defects(defect: object, expected: str) -> None:
    drawn = defect(standard_gaussian(N, SeededSource(0)))  # type: ignore[operator]
    assert expected in problems(drawn)


@pytest.fixture(params=["fresh", "words", "torch"])
def _kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param != "torch" and gaussian.kernel() is None:
        pytest.skip("no C compiler")
    if request.param != "fresh":
        monkeypatch.setattr(gaussian, "fresh_kernel", lambda: None)
    if request.param == "torch":
        monkeypatch.setattr(gaussian, "kernel", lambda: None)


@pytest.mark.usefixtures("_kernel")
@pytest.mark.parametrize("n", [0, 1, 2, 3, 65_535, 65_537])
def test_any_number_of_draws(n: int) -> None:
    drawn = standard_gaussian(n, SeededSource(2))
    assert drawn.shape == (n,)
    assert len(drawn.unique()) == n
    (noisy,) = add_gaussian([torch.zeros(n)], [1.0], SeededSource(2))
    assert noisy.shape == (n,)


def test_the_rarest_words_give_the_furthest_draws_and_no_infinity() -> None:
    for word in (0, 1, -1, -(2**63), 2**63 - 1, 2**62):
        for angle in (0, -(2**63), 2**63 - 1, 2**61):
            drawn = standard_gaussian(2, Words(word, angle))
            assert drawn.isfinite().all()
    furthest = standard_gaussian(2, Words(0, 0)).abs().max().item()
    assert furthest == pytest.approx(math.sqrt(2 * 64 * math.log(2)), rel=1e-9)


@pytest.mark.usefixtures("_kernel")
@pytest.mark.parametrize("stddev", [1e-6, 0.3, 1.0, 77.7, 1e5])
def test_noisy_sums_lie_on_the_grid_whatever_the_value(stddev: float) -> None:
    step = grid_step(stddev)
    assert stddev / 2**21 < step <= stddev / 2**20
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(5000, generator=generator) * stddev
    (noisy,) = add_gaussian([values], [stddev], SeededSource(3))
    multiples = noisy.double() / step
    assert torch.equal(multiples, multiples.round())
    # Planted: the float sum itself, whose last bits show what was added to.
    naive = values.double() + standard_gaussian(5000, SeededSource(3)) * stddev
    assert not torch.equal(naive / step, (naive / step).round())


@pytest.mark.usefixtures("_kernel")
def test_the_noise_is_that_of_the_standard_draws_rounded() -> None:
    values = torch.linspace(-5, 5, 1001)
    (noisy,) = add_gaussian([values], [2.0], SeededSource(4), divisor=8.0)
    exact = (values.double() + 2.0 * standard_gaussian(1001, SeededSource(4))) / 8.0
    assert (noisy.double() - exact).abs().max() <= grid_step(2.0) / 8


@pytest.mark.usefixtures("_kernel")
def test_each_tensor_gets_its_own_stddev_and_is_left_unchanged() -> None:
    tensors = [torch.ones(20_000), torch.ones(20_000, dtype=torch.float16), torch.ones(2, 10_000)]
    noisy = add_gaussian(tensors, [1.0, 1.0, 10.0], SeededSource(5))
    assert all(torch.equal(t, torch.ones_like(t)) for t in tensors)
    assert all(t.dtype == torch.float32 for t in noisy)
    for t, stddev in zip(noisy, (1.0, 1.0, 10.0), strict=True):
        # sd of an estimated sd is 1/sqrt(2n) = 0.5 %; 5 times that is beyond 1e-6.
        assert t.std().item() == pytest.approx(stddev, rel=0.026)
    assert add_gaussian([], [], SeededSource(5)) == []


@pytest.mark.parametrize("stddev", [0.0, -1.0, math.nan, math.inf])
def test_no_noise_is_refused(stddev: float) -> None:
    with pytest.raises(InputError, match="a noise stddev is"):
        add_gaussian([torch.zeros(3)], [stddev], SeededSource(0))


def test_the_default_stream_is_secure_and_the_seeded_one_says_that_it_is_not() -> None:
    assert STREAM.secure
    assert "os-entropy" in STREAM.name
    assert not SeededSource(0).secure
    assert "tests only" in SeededSource(0).name
    assert STREAM is not SECURE


def test_streams_share_nothing_and_store_nothing() -> None:
    drawn = {CipherStream().bytes(32) for _ in range(100)} | {STREAM.bytes(32) for _ in range(100)}
    assert len(drawn) == 200
    first, second = standard_gaussian(1000, CipherStream()), standard_gaussian(1000, CipherStream())
    assert not (first == second).any()
    # Planted: two ranks with equal seeds.
    one, other = (standard_gaussian(1000, SeededSource(7)) for _ in range(2))
    assert (one == other).all()
    assert len(pickle.dumps(CipherStream())) < 200


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_draws_other_noise_than_its_parent() -> None:
    stream = CipherStream()
    stream.bytes(64)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, stream.bytes(64))
        os._exit(0)
    os.waitpid(child, 0)
    theirs = os.read(reader, 64)
    os.close(reader)
    os.close(writer)
    assert len(theirs) == 64
    assert theirs != stream.bytes(64)


@pytest.mark.usefixtures("_kernel")
def test_secure_noise_passes_the_same_test() -> None:
    # 1e-6 a run: this one is not seeded.
    (noisy,) = add_gaussian([torch.zeros(N)], [1.0])
    assert problems(noisy) == set()


def test_bytes_of_the_stream_are_uniform() -> None:
    counts = np.bincount(np.frombuffer(STREAM.bytes(1 << 20), np.uint8), minlength=256)
    from scipy.stats import chisquare

    assert chisquare(counts).pvalue > ALARM
    assert noise.STREAM.bytes(0) == b""


def test_the_compiled_kernel_gives_what_torch_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    if gaussian.kernel() is None:
        pytest.skip("no C compiler")
    for seed, (n, stddev) in enumerate([(300_001, 1.0), (65_536, 7e-5), (513, 3e4), (1, 1.0)]):
        values = torch.linspace(-9 * stddev, 9 * stddev, n)
        (fast,) = add_gaussian([values], [stddev], SeededSource(seed), divisor=3.0)
        with monkeypatch.context() as patch:
            patch.setattr(gaussian, "kernel", lambda: None)
            (slow,) = add_gaussian([values], [stddev], SeededSource(seed), divisor=3.0)
        # Both round to one grid: they may part where a sum is within 2**-46 of a border.
        assert int((fast != slow).sum()) <= 1
        assert (fast - slow).abs().max() <= 1.01 * grid_step(stddev) / 3


@pytest.mark.parametrize("words", [(0, 0), (1, 2**61), (-1, -(2**61)), (-(2**63), -(2**63))])
def test_the_compiled_kernel_agrees_on_the_rarest_words(
    words: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    if gaussian.kernel() is None:
        pytest.skip("no C compiler")
    values = torch.zeros(2)
    (fast,) = add_gaussian([values], [1.0], Words(*words))
    monkeypatch.setattr(gaussian, "kernel", lambda: None)
    (slow,) = add_gaussian([values], [1.0], Words(*words))
    assert torch.allclose(fast, slow, atol=2.0**-20, rtol=0)
    assert fast.isfinite().all()


def test_without_a_compiler_or_a_safe_cache_there_is_no_kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def found(**environment: str) -> bool:
        with monkeypatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            return gaussian.kernel.__wrapped__() is not None

    had_one = gaussian.kernel() is not None
    fresh = tmp_path / "fresh"
    assert found(XDG_CACHE_HOME=str(fresh)) == had_one
    assert not found(SFUMATO_COMPILE="0", XDG_CACHE_HOME=str(fresh))
    assert not found(CC="no-such-compiler", XDG_CACHE_HOME=str(tmp_path / "none"))
    assert not found(CC="false", XDG_CACHE_HOME=str(tmp_path / "fails"))
    if had_one and hasattr(os, "getuid"):
        (fresh / "sfumato" / "compiled").chmod(0o777)  # anyone could have put code there
        assert not found(XDG_CACHE_HOME=str(fresh))


@pytest.fixture(name="library")
def _library() -> ctypes.CDLL:
    found = compiled.library(Path(gaussian.__file__).with_suffix(".c"))
    if found is None or found.key_stream(bytes(32), ctypes.c_uint64(0), bytes(512), 32):
        pytest.skip("no C compiler, or no AES instructions")
    found.key_stream.argtypes = [ctypes.c_char_p, ctypes.c_uint64, ctypes.c_char_p, ctypes.c_size_t]
    found.add_fresh_gaussian.argtypes = [
        *(ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t),
        *(ctypes.c_double,) * 3,
        ctypes.c_int,
    ]
    return found


def key_stream(library: ctypes.CDLL, key: bytes, first: int, blocks: int) -> bytes:
    made = ctypes.create_string_buffer(16 * blocks)
    assert library.key_stream(key, first, made, blocks) == 0
    return made.raw


@pytest.mark.parametrize(
    ("key", "counter", "cipher"),
    [  # NIST's AES known answers for 256 bits: GFSbox and KeySbox with the plaintext 0, VarTxt
        ("00" * 32, 0, "dc95c078a2408989ad48a21492842087"),
        (
            "c47b0294dbbbee0fec4757f22ffeee3587ca4730c3d33b691df38bab076bc558",
            0,
            "46f2fb342d6f0ab477476fc501242c5f",
        ),
        ("00" * 32, 0x80, "ddc6bf790c15760d8d9aeb6f9a75fd4e"),
    ],
)
def test_the_cipher_is_aes(library: ctypes.CDLL, key: str, counter: int, cipher: str) -> None:
    assert key_stream(library, bytes.fromhex(key), counter, 32)[:16].hex() == cipher


def test_the_cipher_counts_blocks(library: ctypes.CDLL) -> None:
    key = bytes(range(32))
    whole = key_stream(library, key, 0, 160)
    assert len({whole[i : i + 16] for i in range(0, len(whole), 16)}) == 160
    assert key_stream(library, key, 96, 64) == whole[96 * 16 :]
    assert key_stream(library, bytes(32), 0, 160) != whole


@pytest.mark.parametrize("threads", [1, 3])
def test_fresh_noise_is_that_of_the_key_streams_words(library: ctypes.CDLL, threads: int) -> None:
    key, n = bytes(range(32)), 20_001
    made, expected = torch.ones(n), torch.ones(n)
    step = grid_step(1.0)
    code = library.add_fresh_gaussian(key, made.data_ptr(), n, 1.0, 1 / step, step, threads)
    assert code == 0
    kernel = gaussian.kernel()
    assert kernel is not None
    for i, part in enumerate(expected.split(1024)):
        words = key_stream(library, key, 512 * i, 512)
        # An odd stretch has a radius of its own; its angles follow.
        kernel(words, part, 1.0, 1 / step, step)
    assert torch.equal(made, expected)


def test_every_call_has_a_key_of_its_own() -> None:
    first, second = (add_gaussian([torch.zeros(1000)], [1.0])[0] for _ in range(2))
    assert not (first == second).any()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_draws_other_noise_from_the_kernel() -> None:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, add_gaussian([torch.zeros(8)], [1.0])[0].numpy().tobytes())
        os._exit(0)
    os.waitpid(child, 0)
    theirs = np.frombuffer(os.read(reader, 64), np.float32)
    os.close(reader)
    os.close(writer)
    assert not (theirs == add_gaussian([torch.zeros(8)], [1.0])[0].numpy()).any()
