"""Every form against a direct computation of its formula, a row and a head at a time, on real steps alone."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from affetto.learn.fusion.adaptive import Adaptive
from affetto.learn.fusion.add import Add
from affetto.learn.fusion.attention import AdditiveAttention, DotProductAttention, SelfAttention
from affetto.learn.fusion.bottleneck import Bottleneck
from affetto.learn.fusion.concat import Concat
from affetto.learn.fusion.crossmodal import Crossmodal
from affetto.learn.fusion.early import Early
from affetto.learn.fusion.film import Film
from affetto.learn.fusion.gated import Gated
from affetto.learn.fusion.hybrid import Hybrid
from affetto.learn.fusion.late import Late
from affetto.learn.fusion.mult import Mult
from affetto.learn.fusion.tensor import LowRankTensor
from affetto.learn.fusion.trimodal import Trimodal
from affetto.learn.fusion.views import FUSED, Views
from affetto.records import MODALITIES, Track

DIM, HEADS = 8, 2
#: The real steps of speech, text and vision in each row: all there, one absent, two absent.
LENGTHS = ((6, 3, 2), (4, 0, 1), (0, 5, 0))
ROWS = range(len(LENGTHS))

Row = dict[str, Tensor]


@pytest.fixture(autouse=True)
def _without_gradient():
    torch.manual_seed(0)
    with torch.no_grad():
        yield


def opened(form: nn.Module) -> nn.Module:
    """In evaluation, and nothing at the zero that it was born with."""
    for name, parameter in form.named_parameters():
        if name.endswith(".gate"):
            nn.init.constant_(parameter, 0.7)
        elif not parameter.any():
            nn.init.normal_(parameter, std=0.5)
    return form.eval()


def tracks(*, timed: bool = False) -> dict[str, Track]:
    found = {}
    for name, lengths in zip(MODALITIES, zip(*LENGTHS, strict=True), strict=True):
        steps = max(lengths)
        mask = torch.arange(steps)[None] < torch.tensor(lengths)[:, None]
        times = torch.rand(len(LENGTHS), steps).sort(dim=1).values * 4 if timed else None
        found[name] = Track(torch.randn(len(LENGTHS), steps, DIM), mask, times)
    return found


def pooled(views: Views, row: int) -> Row:
    """The unimodal vectors [D] of those that are there."""
    return {m: views.vectors[m][row] for m in MODALITIES if views.present[m][row]}


def steps(whole: dict[str, Track], row: int) -> Row:
    """The real steps [T D] of those that are there."""
    return {m: t.values[row][t.mask[row]] for m, t in whole.items() if t.mask[row].any()}


def times(whole: dict[str, Track], row: int) -> Row:
    return {m: t.times[row][t.mask[row]] for m, t in whole.items() if t.mask[row].any()}


def check(views: Views, row: int, expected: Tensor, shares: dict[str, Tensor] | None = None) -> None:
    torch.testing.assert_close(views.vectors[FUSED][row], expected, atol=1e-5, rtol=1e-5)
    if shares is None:
        assert views.weights is None
    else:
        found = [0.0, *(float(shares.get(m, 0.0)) for m in MODALITIES)]
        assert views.weights[row].tolist() == pytest.approx(found, abs=1e-5)


def attend(
    layer: nn.Module, q: Tensor, k: Tensor, v: Tensor, gaps: Tensor | None = None, slopes=()
) -> Tensor:
    """softmax(Q K / sqrt(d) - slope * gap) V by head, and the projections around it."""
    q, k, v = layer.query(q), layer.key(k), layer.value(v)
    heads, size = [], DIM // HEADS
    for h in range(HEADS):
        part = slice(h * size, (h + 1) * size)
        scores = q[:, part] @ k[:, part].T / math.sqrt(size)
        if gaps is not None:
            scores = scores - 2.0 ** float(slopes[h]) * gaps
        heads.append(scores.softmax(dim=1) @ v[:, part])
    return layer.out(torch.cat(heads, dim=1))


def block(layer: nn.Module, x: Tensor) -> Tensor:
    """A pre-norm Transformer block."""
    n = layer.attention_norm(x)
    x = x + attend(layer.attention, n, n, n)
    return x + layer.feed(layer.feed_norm(x))


def transformer(layer: nn.Module, x: Tensor) -> Tensor:
    for one in layer.blocks:
        x = block(one, x)
    return layer.norm(x)


def read(layer: nn.Module, x: Tensor, y: Tensor, gaps: Tensor | None = None) -> Tensor:
    """x + tanh(g) attention(x, y)."""
    y = layer.memory_norm(y)
    said = attend(layer.attention, layer.query_norm(x), y, y, gaps, layer.slopes)
    return x + math.tanh(0.7) * said


def gap(asks: Tensor, answers: Tensor) -> Tensor:
    return (asks[:, None] - answers[None]).abs()


def softmax(scores: Row) -> Row:
    total = sum(torch.exp(score) for score in scores.values())
    return {m: torch.exp(score) / total for m, score in scores.items()}


def mean(x: Row) -> Tensor:
    return sum(x.values()) / len(x)


# --- features ---


def test_concat() -> None:
    form, whole = opened(Concat(MODALITIES, DIM)), tracks()
    views = form(whole)
    norm, linear = form.mix[0], form.mix[1]
    for row in ROWS:
        x = pooled(views, row)
        together = torch.cat([x.get(m, form.absent.absent[m]) for m in MODALITIES])
        centred = (together - together.mean()) / (together.var(unbiased=False) + norm.eps).sqrt()
        check(views, row, F.gelu(linear.weight @ (norm.weight * centred + norm.bias) + linear.bias))


def test_add() -> None:
    form, whole = opened(Add(MODALITIES, DIM)), tracks()
    views = form(whole)
    for row in ROWS:
        total = sum(form.features.maps[m](x) for m, x in pooled(views, row).items())
        check(views, row, F.gelu(F.layer_norm(total, (DIM,), form.out[0].weight, form.out[0].bias)))


def test_tensor_is_a_linear_map_of_the_outer_product() -> None:
    """The full tensor of weights, [D] by [D + 1] per modality, made from the factors: Zadeh et al. 2017."""
    form, whole = opened(LowRankTensor(MODALITIES, DIM, rank=3)), tracks()
    views = form(whole)

    def factor(m: str) -> Tensor:
        layer = form.factors.maps[m]
        return torch.cat([layer.weight, layer.bias[:, None]], dim=1).unflatten(0, (3, DIM))  # [R D D+1]

    x = {m: torch.cat([v, torch.ones(1)]) for m, v in pooled(views, 0).items()}
    weight = torch.einsum("r,rdi,rdj,rdk->dijk", form.ranks, *(factor(m) for m in MODALITIES))
    outer = torch.einsum("i,j,k->ijk", *x.values())
    check(views, 0, (weight * outer).sum(dim=(1, 2, 3)) + form.bias)
    x = {m: torch.cat([v, torch.ones(1)]) for m, v in pooled(views, 1).items()}
    weight = torch.einsum("r,rdi,rdk->dik", form.ranks, factor("speech"), factor("vision"))
    check(views, 1, (weight * torch.outer(*x.values())).sum(dim=(1, 2)) + form.bias)


def test_film() -> None:
    form, whole = opened(Film(MODALITIES, DIM)), tracks()
    views = form(whole)
    for row in ROWS:
        x, y = pooled(views, row), {}
        for m, vector in x.items():
            others = {n: other for n, other in x.items() if n != m}
            modulation = form.modulation.maps[m](mean(others)) if others else torch.zeros(2 * DIM)
            y[m] = (1 + modulation[:DIM]) * vector + modulation[DIM:]
        check(views, row, mean(y))


def test_film_changes_nothing_at_first() -> None:
    views = Film(MODALITIES, DIM).eval()(tracks())
    for row in ROWS:
        check(views, row, mean(pooled(views, row)))


def test_self_attention() -> None:
    form, whole = opened(SelfAttention(MODALITIES, DIM, layers=2, heads=HEADS)), tracks()
    views = form(whole)
    for row in ROWS:
        told = [x + form.kinds[m] for m, x in steps(whole, row).items()]
        z = transformer(form.transformer, torch.cat([form.summary[0], *told]))
        check(views, row, z[0])
        track = views.tracks[FUSED]
        torch.testing.assert_close(track.values[row][track.mask[row]], z, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("timed", [False, True])
def test_crossmodal(timed: bool) -> None:
    form, whole = opened(Crossmodal(MODALITIES, DIM, tokens=2, layers=2, heads=HEADS)), tracks(timed=timed)
    views = form(whole)
    for row in ROWS:
        y, clock = steps(whole, row), times(whole, row) if timed else {}
        x = torch.cat([form.questions[0], y.get("text", torch.zeros(0, DIM))])
        for readers, one in zip(form.readers, form.blocks, strict=True):
            for m in ("speech", "vision"):
                if m in y:
                    x = read(readers[m], x, y[m], question_gaps(2, clock, m) if timed else None)
            x = block(one, x)
        check(views, row, form.norm(x)[:2].mean(dim=0))


def question_gaps(questions: int, clock: Row, answer: str, asks: str = "text") -> Tensor:
    """No gap for those who ask without a time, then the gaps of those with one."""
    timeless = torch.zeros(questions, len(clock[answer]))
    return torch.cat([timeless, gap(clock[asks], clock[answer])]) if asks in clock else timeless


@pytest.mark.parametrize("timed", [False, True])
def test_mult(timed: bool) -> None:
    form, whole = opened(Mult(MODALITIES, DIM, layers=2, heads=HEADS)), tracks(timed=timed)
    views = form(whole)
    for row in ROWS:
        x, clock, p = steps(whole, row), times(whole, row) if timed else {}, []
        for m in MODALITIES:
            if m not in x:
                p.append(form.absent.absent[m])
                continue
            streams = []
            for n, reader in form.readers[m].items():
                z = x[m]
                for layer, norm, feed in zip(reader.reads, reader.norms, reader.feeds, strict=True):
                    if n in x:
                        z = read(layer, z, x[n], gap(clock[m], clock[n]) if timed else None)
                    z = z + feed(norm(z))
                streams.append(z)
            joined = form.joins[m](torch.cat(streams, dim=1))
            p.append(form.norm(block(form.blocks[m], joined)).mean(dim=0))
        check(views, row, form.out(torch.cat(p)))


@pytest.mark.parametrize("timed", [False, True])
def test_trimodal(timed: bool) -> None:
    form, whole = opened(Trimodal(MODALITIES, DIM, tokens=2, layers=2, heads=HEADS)), tracks(timed=timed)
    views = form(whole)
    for row in ROWS:
        y, clock = steps(whole, row), times(whole, row) if timed else {}
        x = torch.cat([form.questions[0], y.get("text", torch.zeros(0, DIM))])
        for layer in form.layers:
            for m in ("speech", "vision"):
                if m in y:
                    x = read(layer.pairs[m], x, y[m], question_gaps(2, clock, m) if timed else None)
            if "speech" in y and "vision" in y:
                triple = layer.triples["speech"]["vision"]
                seen = on_the_clock_of_speech(y, clock)
                keys, values = triple.key_norm(y["speech"]), triple.value_norm(seen)
                said = attend(triple.attention, triple.query_norm(x), keys, values)
                x = x + math.tanh(0.7) * said
            x = block(layer.block, x)
        check(views, row, form.norm(x)[:2].mean(dim=0))


def on_the_clock_of_speech(y: Row, clock: Row) -> Tensor:
    """What vision shows at each frame of speech: its steps, weighted by exp(-distance / half a frame)."""
    count = len(y["speech"])
    if clock:
        both = torch.cat([clock["speech"], clock["vision"]])
        spread = {m: (clock[m] - both.min()) / (both.max() - both.min()) for m in ("speech", "vision")}
    else:
        spread = {m: (torch.arange(len(y[m])) + 0.5) / len(y[m]) for m in ("speech", "vision")}
    seen = []
    for moment in spread["speech"]:
        weight = torch.exp(-(moment - spread["vision"]).abs() * 2 * count)
        seen.append((weight[:, None] * y["vision"]).sum(dim=0) / weight.sum())
    return torch.stack(seen)


def test_trimodal_asks_with_text_or_else_with_the_first() -> None:
    assert Trimodal(MODALITIES, DIM, heads=HEADS).asks == "text"
    assert Trimodal(("speech", "vision"), DIM, heads=HEADS).asks == "speech"
    assert Trimodal(("vision",), DIM, heads=HEADS).timed == ()


def test_bottleneck() -> None:
    form, whole = opened(Bottleneck(MODALITIES, DIM, tokens=3, layers=2, heads=HEADS)), tracks()
    views = form(whole)
    for row in ROWS:
        x, b = steps(whole, row), form.bottleneck[0]
        for blocks in form.layers:
            told = []
            for m in x:
                together = block(blocks[m], torch.cat([x[m], b]))
                x[m] = together[:-3]
                told.append(together[-3:])
            b = sum(told) / len(told)
        check(views, row, form.norm(b).mean(dim=0))


# --- input ---


def test_early() -> None:
    """On a grid of 4 moments, without times: each modality's steps are spread over it evenly."""
    form, whole = opened(Early(MODALITIES, DIM, steps=4, layers=2, heads=HEADS)), tracks()
    views = form(whole)
    for row in ROWS:
        y, frames = steps(whole, row), []
        for i in range(4):
            parts = []
            for m in MODALITIES:
                if m not in y:
                    parts.append(form.absent.absent[m])
                    continue
                place = (torch.arange(len(y[m])) + 0.5) / len(y[m])
                weight = torch.exp(-((i + 0.5) / 4 - place).abs() * 8)
                parts.append((weight[:, None] * y[m]).sum(dim=0) / weight.sum())
            frames.append(form.join(torch.cat(parts)))
        z = form.encoder(torch.stack(frames)[None], torch.ones(1, 4, dtype=torch.bool))
        check(views, row, z[0].mean(dim=0))


# --- modalities ---


def test_additive_attention() -> None:
    form, whole = opened(AdditiveAttention(MODALITIES, DIM)), tracks()
    views = form(whole)
    for row in ROWS:
        h = {m: form.features.maps[m](x) for m, x in pooled(views, row).items()}
        query = form.query(mean(h))
        a = softmax({m: form.score.weight[0] @ torch.tanh(query + form.key.weight @ x) for m, x in h.items()})
        check(views, row, sum(a[m] * x for m, x in h.items()), a)


def test_dot_product_attention() -> None:
    form, whole = opened(DotProductAttention(MODALITIES, DIM)), tracks()
    views = form(whole)
    for row in ROWS:
        h = {m: form.features.maps[m](x) for m, x in pooled(views, row).items()}
        query = form.query(mean(h))
        a = softmax({m: query @ form.key.weight @ x / math.sqrt(DIM) for m, x in h.items()})
        check(views, row, sum(a[m] * x for m, x in h.items()), a)


def test_gated() -> None:
    form, whole = opened(Gated(MODALITIES, DIM)), tracks()
    views = form(whole)
    for row in ROWS:
        x = pooled(views, row)
        together = torch.cat([x.get(m, form.absent.absent[m]) for m in MODALITIES])
        z = dict(zip(MODALITIES, torch.sigmoid(form.gates(together)).split(DIM), strict=True))
        total = sum(z[m].mean() for m in x)
        expected = sum(z[m] * torch.tanh(form.features.maps[m](v)) for m, v in x.items())
        check(views, row, expected, {m: z[m].mean() / total for m in x})


def test_adaptive() -> None:
    form, whole = opened(Adaptive(MODALITIES, DIM)), tracks()
    views = form(whole)
    for row in ROWS:
        r = {}
        for m, x in steps(whole, row).items():
            deviation = x.var(dim=0, unbiased=False).clamp(min=1e-6).sqrt()
            hidden = F.gelu(form.quality.maps[m](torch.cat([x.mean(dim=0), deviation])))
            r[m] = form.reliability.maps[m](hidden)[0]
        a = {m: 2 / (1 + torch.exp(-value)) for m, value in r.items()}
        said = {m: a[m] * form.features.maps[m](v) for m, v in pooled(views, row).items()}
        check(views, row, F.gelu(form.out[0](sum(said.values()))), {m: a[m] / sum(a.values()) for m in a})


def test_adaptive_begins_as_add() -> None:
    add, adaptive = Add(MODALITIES, DIM).eval(), Adaptive(MODALITIES, DIM).eval()
    adaptive.load_state_dict(add.state_dict(), strict=False)
    whole = tracks()
    torch.testing.assert_close(adaptive(whole).vectors[FUSED], add(whole).vectors[FUSED])


# --- decisions, and both ---


def test_late_is_the_pooled_vectors() -> None:
    form, whole = opened(Late(MODALITIES, DIM)), tracks()
    views = form(whole)
    assert tuple(views.vectors) == MODALITIES
    for row in ROWS:
        for m, x in steps(whole, row).items():
            vector = form.unimodal.projections[m](form.unimodal.pools[m](x[None], torch.ones(1, len(x)) > 0))
            torch.testing.assert_close(views.vectors[m][row], vector[0])


def test_hybrid() -> None:
    form, whole = opened(Hybrid(MODALITIES, DIM, tokens=2, layers=2, heads=HEADS)), tracks()
    views = form(whole)
    for row in ROWS:
        y, told = steps(whole, row), [form.summary[0]]
        for m in MODALITIES:
            reader = form.readers[m]
            memory = reader.norm(y[m]) if m in y else None
            told.append(
                form.absent[m][0]
                if memory is None
                else attend(reader.attention, reader.queries, memory, memory)
            )
        check(views, row, transformer(form.transformer, torch.cat(told))[0])


# --- what they are for ---


def test_adaptive_listens_less_to_noise() -> None:
    """Both modalities give the class away, until one of them is drowned in noise: here speech, there vision."""
    generator = torch.Generator().manual_seed(0)
    form, head = Adaptive(("speech", "vision"), DIM, dropout=0.0), nn.Linear(DIM, 2)
    optimiser = torch.optim.Adam([*form.parameters(), *head.parameters()], 1e-2)

    def clips(rows: int) -> tuple[dict[str, Track], Tensor, Tensor]:
        truth = torch.randint(0, 2, (rows,), generator=generator)
        noisy = torch.randint(0, 2, (rows,), generator=generator)  # 0: speech, 1: vision
        given = {}
        for place, name in enumerate(("speech", "vision")):
            clean = (truth * 2.0 - 1.0)[:, None, None] * torch.ones(rows, 5, DIM)
            noise = 6.0 * torch.randn(rows, 5, DIM, generator=generator)
            values = torch.where((noisy == place)[:, None, None], noise, clean)
            given[name] = Track(values, torch.ones(rows, 5, dtype=torch.bool))
        return given, truth, noisy

    with torch.enable_grad():
        for _ in range(60):
            given, truth, _ = clips(64)
            loss = F.cross_entropy(head(form(given).vectors[FUSED]), truth)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    given, truth, noisy = clips(400)
    views = form(given)
    drowned = views.weights[torch.arange(400), 1 + noisy]
    assert drowned.mean() < 0.1
    assert (head(views.vectors[FUSED]).argmax(dim=1) == truth).float().mean() > 0.95
