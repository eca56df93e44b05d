import importlib
import inspect
import itertools
import re

import pytest
import torch
from torch import Tensor, nn
from transformers import GPT2Config, GPT2Model

from affetto.learn.config import FusionConfig
from affetto.learn.decoders import HEADS
from affetto.learn.decoders.heads import LinearHead, MlpHead, ProbeHead, QueryHead
from affetto.learn.encoders.pretrained.backbone import Backbone
from affetto.learn.fusion import FUSED, FUSIONS, LEVELS, VOTES, Views
from affetto.learn.fusion.vote import FusedVote, LearnedVote, MajorityVote, MeanVote, ValidatedVote
from affetto.learn.models.build import resolve
from affetto.records import MODALITIES, Track

DIM = 8
SIZES = {"tokens": 2, "layers": 1, "heads": 2, "steps": 5, "rank": 2}
#: The forms that report how much of each modality is in `fused`.
WEIGHING = ("additive_attention", "dot_product_attention", "gated", "adaptive")
SUBSETS = [s for n in range(1, 4) for s in itertools.combinations(MODALITIES, n)]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def language_model() -> Backbone:
    """A tiny one, without files."""
    return Backbone(GPT2Model(GPT2Config(vocab_size=9, n_embd=6, n_layer=1, n_head=1, n_positions=40)), {})


def fusion(name: str, modalities: tuple[str, ...] = MODALITIES) -> nn.Module:
    """In evaluation, its gates no longer at the zero that they begin with, which would let nothing through."""
    form = resolve(FUSIONS, name, "")
    asked = inspect.signature(form).parameters
    sizes = {k: v for k, v in SIZES.items() if k in asked}
    reader = [language_model()] if "backbone" in asked else []
    made = form(modalities, DIM, *reader, dropout=0.0, **sizes).eval()
    for parameter_name, parameter in made.named_parameters():
        if (
            parameter_name.endswith(".gate")
            or "modulation" in parameter_name
            or "reliability" in parameter_name
        ):
            nn.init.constant_(parameter, 0.7)
    return made


def track(rows: int, steps: int) -> Track:
    """A Track as encoders give it: zero where padded, rows of unlike lengths."""
    mask = torch.arange(steps)[None] < torch.randint(1, steps + 1, (rows, 1))
    return Track(torch.randn(rows, steps, DIM) * mask[..., None], mask)


def tracks(rows: int = 3) -> dict[str, Track]:
    return {"speech": track(rows, 7), "text": track(rows, 4), "vision": track(rows, 1)}


def absent_row(whole: Track, row: int) -> Track:
    mask = whole.mask.clone()
    mask[row] = False
    return Track(whole.values * mask[..., None], mask)


def same(first: Views, second: Views, rows: slice = slice(None)) -> None:
    for view in first.vectors:
        assert torch.equal(first.present[view][rows], second.present[view][rows])
        torch.testing.assert_close(first.vectors[view][rows], second.vectors[view][rows], atol=1e-5, rtol=0)
    if first.weights is not None:
        torch.testing.assert_close(first.weights[rows], second.weights[rows], atol=1e-5, rtol=0)


def test_every_form_stands_at_one_level_and_none_twice() -> None:
    assert sorted(FUSIONS) == sorted(name for forms in LEVELS.values() for name in forms)
    assert list(LEVELS) == ["input", "feature", "modality", "decision", "hybrid"]
    assert set(LEVELS["modality"]) == set(WEIGHING)


@pytest.mark.parametrize("name", FUSIONS)
class TestForms:
    def test_views(self, name: str) -> None:
        form = fusion(name)
        views = form(tracks())
        assert tuple(views.vectors) == tuple(views.tracks) == tuple(views.present) == form.views
        assert form.views == (MODALITIES if name in LEVELS["decision"] else (FUSED, *MODALITIES))
        for view in form.views:
            assert views.vectors[view].shape == (3, DIM)
            assert views.tracks[view].values.shape[::2] == (3, DIM)
            assert views.tracks[view].mask.shape == views.tracks[view].values.shape[:2]

    def test_alone_equals_batched(self, name: str) -> None:
        form, together = fusion(name), tracks()
        views = form(together)
        for row in range(3):
            alone = {}
            for modality, whole in together.items():
                real = int(whole.mask[row].sum())
                cut = (slice(row, row + 1), slice(0, real))
                alone[modality] = Track(whole.values[cut], whole.mask[cut])
            single = form(alone)
            for view in form.views:
                torch.testing.assert_close(
                    views.vectors[view][row], single.vectors[view][0], atol=1e-5, rtol=0
                )

    @pytest.mark.parametrize("subset", SUBSETS)
    def test_missing_key_equals_absent_rows(self, name: str, subset: tuple[str, ...]) -> None:
        form, whole = fusion(name), tracks()
        missing = form({modality: whole[modality] for modality in subset})
        masked = form(
            {
                m: t if m in subset else Track(torch.zeros_like(t.values), torch.zeros_like(t.mask))
                for m, t in whole.items()
            }
        )
        same(missing, masked)
        for view in form.views:
            assert torch.isfinite(missing.vectors[view]).all()
            assert missing.present[view].all() == (view == FUSED or view in subset)

    def test_an_absent_row_does_not_touch_its_mates(self, name: str) -> None:
        form, whole = fusion(name), tracks()
        holed = {**whole, "speech": absent_row(whole["speech"], 1)}
        same(form(whole), form(holed), slice(0, 1))
        same(form(whole), form(holed), slice(2, 3))
        if name not in LEVELS["decision"]:
            difference = form(whole).vectors[FUSED][1] - form(holed).vectors[FUSED][1]
            assert difference.abs().max() > 1e-5

    def test_finite_with_everything_absent(self, name: str) -> None:
        whole = tracks()
        nothing = {m: Track(torch.zeros_like(t.values), torch.zeros_like(t.mask)) for m, t in whole.items()}
        views = fusion(name)(nothing)
        assert all(torch.isfinite(vector).all() for vector in views.vectors.values())
        assert not any(present.any() for present in views.present.values())

    def test_no_track_at_all_is_refused(self, name: str) -> None:
        with pytest.raises(ValueError, match="speech, text, vision"):
            fusion(name)({})

    def test_what_is_not_real_does_not_matter(self, name: str) -> None:
        form, whole = fusion(name), tracks()
        whole["speech"] = absent_row(whole["speech"], 1)
        junk = {m: Track(torch.where(t.mask[..., None], t.values, 9.0), t.mask) for m, t in whole.items()}
        longer = {
            m: Track(nn.functional.pad(t.values, (0, 0, 0, 3)), nn.functional.pad(t.mask, (0, 3)))
            for m, t in whole.items()
        }
        same(form(whole), form(junk))
        same(form(whole), form(longer))

    def test_times_that_are_unknown_are_no_times(self, name: str) -> None:
        form, whole = fusion(name), tracks()
        unknown = {
            m: Track(t.values, t.mask, torch.full_like(t.mask.float(), torch.nan)) for m, t in whole.items()
        }
        same(form(whole), form(unknown))

    @pytest.mark.parametrize("count", [1, 2, 4])
    def test_any_number_of_modalities(self, name: str, count: int) -> None:
        modalities = ("text", "speech", "vision", "pulse")[:count]
        form = fusion(name, modalities)
        whole = {m: track(3, 4) for m in modalities}
        views = form(whole)
        assert form.views[-count:] == modalities
        assert all(vector.shape == (3, DIM) for vector in views.vectors.values())
        views = form({"text": absent_row(whole["text"], 0)})
        assert all(torch.isfinite(vector).all() for vector in views.vectors.values())

    def test_its_settings_are_those_of_the_config(self, name: str) -> None:
        asked = inspect.signature(resolve(FUSIONS, name, "")).parameters.values()
        settings = {p.name: p.default for p in asked if p.kind is p.KEYWORD_ONLY}
        assert settings.items() <= vars(FusionConfig()).items()

    def test_it_is_documented(self, name: str) -> None:
        """With a formula, shapes and a paper."""
        said = resolve(FUSIONS, name, "").__doc__ or ""
        assert re.search(r"(=|<-) ", said)
        assert "[B " in said
        assert re.search(r"\b20\d\d\b", said)

    def test_it_learns(self, name: str) -> None:
        """Which of two patterns speech, text and vision all carry: after a few steps nearly always right."""
        form, head = fusion(name).train(), LinearHead(DIM, 2)
        optimiser = torch.optim.Adam([*form.parameters(), *head.parameters()], 3e-2)
        truth = torch.arange(8) % 2
        given = {
            m: Track(t.values + (truth * 2.0 - 1.0)[:, None, None], t.mask) for m, t in tracks(8).items()
        }
        losses = []
        for _ in range(15):
            vectors = form(given).vectors
            fused = vectors[FUSED] if FUSED in vectors else torch.stack(list(vectors.values())).mean(dim=0)
            losses.append(nn.functional.cross_entropy(head(fused), truth))
            optimiser.zero_grad()
            losses[-1].backward()
            optimiser.step()
        assert losses[-1].item() < 0.3 * losses[0].item()


@pytest.mark.parametrize("name", WEIGHING)
def test_weights_are_shares_of_what_is_there(name: str) -> None:
    whole = tracks()
    views = fusion(name)({**whole, "text": absent_row(whole["text"], 1)})
    weights = views.weights
    assert weights is not None
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(3))
    assert (weights[:, 0] == 0).all()
    assert weights[1, 2] == 0
    assert (weights[0, 1:] > 0).all()


# --- votes --------------------------------------------------------------------------------------------------

VIEWS = (FUSED, *MODALITIES)


def presence(*rows: tuple[str, ...]) -> dict[str, Tensor]:
    present = {m: torch.tensor([m in row for row in rows]) for m in MODALITIES}
    return {FUSED: torch.stack(list(present.values())).any(dim=0), **present}


def logits(rows: int, classes: int = 4) -> dict[str, Tensor]:
    return {view: torch.randn(rows, classes) for view in VIEWS}


def test_learned_vote_begins_as_the_product_of_experts() -> None:
    said = logits(len(SUBSETS))
    merged, weights = LearnedVote(VIEWS, "single-label")(said, presence(*SUBSETS))
    for row, subset in enumerate(SUBSETS):
        product = torch.ones(4)
        for modality in subset:
            product = product * said[modality][row].softmax(dim=0)
        torch.testing.assert_close(merged[row].softmax(dim=0), product / product.sum())
        expected = [1 / len(subset) if view in subset else 0.0 for view in VIEWS]
        assert weights[row].tolist() == pytest.approx(expected)


def test_learned_vote_has_strengths_of_its_own_for_every_subset() -> None:
    vote = LearnedVote(VIEWS, "single-label")
    said, present = logits(len(SUBSETS)), presence(*SUBSETS)
    before, _ = vote(said, present)
    vote.trust(("text", "speech"), {FUSED: 2.0, "speech": 0.5, "text": 3.0})
    after, weights = vote(said, present)
    row = SUBSETS.index(("speech", "text"))
    others = [i for i in range(len(SUBSETS)) if i != row]
    assert torch.equal(before[others], after[others])
    expected = sum(
        s * said[view][row].log_softmax(dim=0) for s, view in ((2.0, FUSED), (0.5, "speech"), (3.0, "text"))
    )
    torch.testing.assert_close(after[row], expected)
    assert weights[row].tolist() == pytest.approx([2 / 5.5, 0.5 / 5.5, 3 / 5.5, 0.0])


def test_learned_strengths_are_never_negative_and_can_come_back() -> None:
    vote = LearnedVote(VIEWS, "single-label")
    said, present = logits(1), presence(("speech",))
    with torch.no_grad():
        vote.table.fill_(-1.0)
    for training in (True, False):
        merged, weights = vote.train(training)(said, present)
        assert merged.abs().max() == 0
        assert weights.abs().max() == 0
    vote.train()(said, present)[0].log_softmax(dim=1)[0, 0].backward()
    assert vote.table.grad is not None
    assert (vote.table.grad[0b001, :2] != 0).all()
    assert vote.table.grad[0b001, 2:].abs().max() == 0


@pytest.mark.parametrize("kind", ["multi-label", "dimension"])
@pytest.mark.parametrize("cls", [LearnedVote, MeanVote, ValidatedVote])
def test_other_kinds_take_the_mean_of_logits(cls, kind: str) -> None:
    said = logits(2, classes=1 if kind == "dimension" else 4)
    merged, _ = cls(MODALITIES, kind)(said, presence(("speech", "vision"), ("text",)))
    torch.testing.assert_close(merged[0], (said["speech"][0] + said["vision"][0]) / 2)
    torch.testing.assert_close(merged[1], said["text"][1])


def test_a_vote_on_one_view_is_that_view() -> None:
    said = logits(2)
    for views in (("text",), (FUSED,)):
        merged, weights = LearnedVote(views, "single-label")(said, presence(("text",), ("text", "speech")))
        torch.testing.assert_close(merged.softmax(dim=1), said[views[0]].softmax(dim=1))
        assert weights.tolist() == [[1.0], [1.0]]


def test_fused_speaks_when_no_other_view_of_the_task_can() -> None:
    said = logits(1)
    merged, weights = LearnedVote((FUSED, "text"), "single-label")(said, presence(("speech",)))
    torch.testing.assert_close(merged.softmax(dim=1), said[FUSED].softmax(dim=1))
    assert weights.tolist() == [[1.0, 0.0]]


def test_mean_vote_is_the_mean_of_probabilities() -> None:
    said = logits(1)
    merged, weights = MeanVote(MODALITIES, "single-label")(said, presence(("speech", "text")))
    mean = (said["speech"].softmax(dim=1) + said["text"].softmax(dim=1)) / 2
    torch.testing.assert_close(merged.exp(), mean)
    assert weights.tolist() == [[0.5, 0.5, 0.0]]


def test_validated_vote_is_the_mean_weighted_by_scores() -> None:
    said, present = logits(2), presence(("speech", "text", "vision"), ("text", "vision"))
    vote = ValidatedVote(MODALITIES, "single-label")
    assert torch.equal(vote(said, present)[0], MeanVote(MODALITIES, "single-label")(said, present)[0])
    vote.weigh({"speech": 0.3, "text": 0.1})
    merged, weights = vote(said, present)
    mean = 0.75 * said["speech"][0].softmax(dim=0) + 0.25 * said["text"][0].softmax(dim=0)
    torch.testing.assert_close(merged[0].exp(), mean, atol=1e-5, rtol=0)
    torch.testing.assert_close(merged[1].softmax(dim=0), said["text"][1].softmax(dim=0), atol=1e-4, rtol=0)
    assert weights.tolist() == [
        pytest.approx([0.75, 0.25, 0.0], abs=1e-5),
        pytest.approx([0, 1, 0], abs=1e-4),
    ]


def test_below_chance_is_heard_only_alone() -> None:
    said = logits(1)
    vote = ValidatedVote(MODALITIES, "single-label")
    vote.weigh({"speech": -0.1, "text": 0.2, "vision": -0.2})
    assert vote(said, presence(("speech", "text")))[1].tolist() == [pytest.approx([0, 1, 0], abs=1e-4)]
    assert vote(said, presence(("speech", "vision")))[1].tolist() == [pytest.approx([0.5, 0, 0.5])]
    assert ValidatedVote(MODALITIES, "single-label").state_dict().keys() == {"scores"}


def test_majority_vote() -> None:
    def sure(label: int, share: float) -> list[float]:
        rest = (1 - share) / 2
        return [share if i == label else rest for i in range(3)]

    rows = [
        ((0, 0.4), (0, 0.4), (1, 0.98), MODALITIES),  # two against one, however sure
        ((0, 0.6), (1, 0.9), (1, 0.9), ("speech", "text")),  # a tie goes to the surer
        ((2, 0.4), (0, 0.9), (0, 0.9), ("speech",)),  # the absent have no vote
    ]
    said = {
        modality: torch.tensor([sure(*row[column]) for row in rows]).log()
        for column, modality in enumerate(MODALITIES)
    }
    for logit in said.values():
        logit.requires_grad_()
    merged, weights = MajorityVote(MODALITIES, "single-label")(said, presence(*(row[3] for row in rows)))
    assert merged.argmax(dim=1).tolist() == [0, 1, 2]
    torch.testing.assert_close(merged.exp().sum(dim=1), torch.ones(3))
    assert not merged.requires_grad
    assert weights[1].tolist() == [0.5, 0.5, 0.0]
    with pytest.raises(ValueError, match="multi-label"):
        MajorityVote(MODALITIES, "multi-label")


def test_fused_vote() -> None:
    said = logits(2)
    merged, weights = FusedVote(VIEWS, "single-label")(said, presence(("speech",), ()))
    assert torch.equal(merged[0], said[FUSED][0])
    assert merged[1].abs().max() == 0
    assert weights is None
    with pytest.raises(ValueError, match="speech"):
        FusedVote(MODALITIES, "single-label")


@pytest.mark.parametrize("name", VOTES)
def test_votes_resolve_and_are_finite_when_nothing_is_there(name: str) -> None:
    module, _, attribute = VOTES[name].partition(":")
    vote = getattr(importlib.import_module(module), attribute)(VIEWS, "single-label")
    merged, weights = vote(logits(1), presence(()))
    torch.testing.assert_close(merged.softmax(dim=1), torch.full((1, 4), 0.25))
    assert weights is None or weights.abs().max() == 0


# --- heads --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HEADS)
def test_heads(name: str) -> None:
    module, _, attribute = HEADS[name].partition(":")
    head = getattr(importlib.import_module(module), attribute)(DIM, 5).eval()
    assert type(head) in (LinearHead, MlpHead, ProbeHead, QueryHead)
    vector, whole = torch.randn(3, DIM), track(3, 6)
    assert head(vector).shape == head(vector, whole).shape == (3, 5)
    alone = torch.cat(
        [head(vector[i : i + 1], Track(whole.values[i : i + 1], whole.mask[i : i + 1])) for i in range(3)]
    )
    torch.testing.assert_close(head(vector, whole), alone, atol=1e-6, rtol=0)
    head(vector, whole).square().sum().backward()
    head.train()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in head.parameters())


def test_queries_read_real_steps_only() -> None:
    head, whole = QueryHead(DIM, 5).eval(), track(3, 6)
    other = Track(torch.where(whole.mask[..., None], whole.values, 9.0), whole.mask)
    vector = torch.zeros(3, DIM)
    torch.testing.assert_close(head(vector, whole), head(vector, other), atol=1e-6, rtol=0)
    nothing = Track(whole.values, torch.zeros_like(whole.mask))
    assert torch.isfinite(head(vector, nothing)).all()
