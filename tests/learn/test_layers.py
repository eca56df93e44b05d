import pytest
import torch
from torch import Tensor, nn

from affetto.learn.layers.alignment import on_clock, places
from affetto.learn.layers.attention import MultiHeadAttention, masked_softmax
from affetto.learn.layers.conv import (
    ConvBlock1d,
    ConvBlock2d,
    DepthwiseSeparable1d,
    MaskedBatchNorm,
    ResidualBlock2d,
    every,
    receptive_frames,
    residual_stages,
)
from affetto.learn.layers.pooling import AttentiveStatistics, QueryPooling, masked_mean, masked_statistics
from affetto.learn.layers.recurrent import MaskedBiGru
from affetto.learn.layers.transformer import CrossBlock, Transformer, drop_path
from affetto.records import Track

LENGTHS = (9, 4, 1)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def lengths_mask(lengths: tuple[int, ...] = LENGTHS) -> Tensor:
    return torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]


def used(module: nn.Module) -> nn.Module:
    """In evaluation, its running statistics no longer those of the first day."""
    for part in module.modules():
        if isinstance(part, MaskedBatchNorm):
            nn.init.normal_(part.running_mean)
            nn.init.uniform_(part.running_var, 0.5, 2.0)
            nn.init.normal_(part.bias)
    return module.eval()


class TestClock:
    def test_places_reach_from_the_first_known_time_to_the_last(self) -> None:
        mask = torch.tensor([[True, True, True, False]])
        speech = Track(torch.zeros(1, 4, 1), mask, torch.tensor([[2.0, 4.0, torch.nan, 99.0]]))
        text = Track(torch.zeros(1, 2, 1), mask[:, :2], torch.tensor([[3.0, 6.0]]))
        vision = Track(torch.zeros(1, 2, 1), mask[:, 1:3])
        found = places([speech, text, vision])
        assert found[0][0, :3].tolist() == [0.0, 0.5, pytest.approx(5 / 6)]  # the third of three
        assert found[1].tolist() == [[0.25, 1.0]]
        assert found[2].tolist() == [[0.25, 0.75]]
        assert all(torch.isfinite(place).all() for place in found)

    def test_values_at_a_moment_are_those_of_the_steps_near_it(self) -> None:
        track = Track(torch.tensor([[[1.0], [2.0], [7.0]]]), torch.tensor([[True, True, False]]))
        place, clock = torch.tensor([[0.0, 1.0, 0.5]]), torch.tensor([[0.0, 0.5, 0.6]])
        near = torch.tensor(-0.6 / 0.2).exp(), torch.tensor(-0.4 / 0.2).exp()
        expected = (1.0 * near[0] + 2.0 * near[1]) / sum(near)
        found = on_clock(track, place, clock, 0.2)[0, :, 0]
        torch.testing.assert_close(found[1:], torch.stack([torch.tensor(1.5), expected]))
        assert found[0] == pytest.approx(1.0, abs=0.01)
        nothing = Track(track.values, torch.zeros_like(track.mask))
        assert on_clock(nothing, place, clock, 0.2).abs().max() == 0


class TestAttention:
    def test_softmax_of_the_real_ones(self) -> None:
        scores, mask = torch.randn(2, 4), torch.tensor([[True, False, True, False], [False] * 4])
        found = masked_softmax(scores, mask)
        torch.testing.assert_close(found[0, ::2], scores[0, ::2].softmax(dim=0))
        assert found[mask.logical_not()].abs().max() == 0

    def test_values_may_come_from_elsewhere(self) -> None:
        layer, mask = MultiHeadAttention(8, 2).eval(), lengths_mask()
        x, keys, values = torch.randn(3, 5, 8), torch.randn(3, 9, 8), torch.randn(3, 1, 8)
        found = layer(x, keys, mask, values=values.expand(-1, 9, -1))
        expected = layer.out(layer.value(values)).expand(-1, 5, -1)  # all keys have one value
        torch.testing.assert_close(found, expected)
        torch.testing.assert_close(layer(x, keys, mask, values=keys), layer(x, keys, mask))

    def test_equals_torch(self) -> None:
        ours = MultiHeadAttention(8, 2).eval()
        theirs = nn.MultiheadAttention(8, 2, batch_first=True).eval()
        with torch.no_grad():
            theirs.in_proj_weight.copy_(torch.cat([ours.query.weight, ours.key.weight, ours.value.weight]))
            theirs.in_proj_bias.copy_(torch.cat([ours.query.bias, torch.zeros(8), ours.value.bias]))
            theirs.out_proj.load_state_dict(ours.out.state_dict())
        x, keys, mask = torch.randn(3, 5, 8), torch.randn(3, 9, 8), lengths_mask()
        expected = theirs(x, keys, keys, key_padding_mask=~mask)[0]
        torch.testing.assert_close(ours(x, keys, mask), expected, atol=1e-6, rtol=0)

    def test_a_bias_is_added_to_the_scores(self) -> None:
        layer, mask = MultiHeadAttention(8, 2).eval(), lengths_mask()
        x, keys = torch.randn(3, 5, 8), torch.randn(3, 9, 8)
        torch.testing.assert_close(layer(x, keys, mask, torch.zeros(3, 2, 5, 9)), layer(x, keys, mask))
        bias = torch.full((3, 2, 5, 9), -1e3)
        bias[..., 0] = 0.0  # the first key outweighs all others
        first = torch.zeros_like(mask)
        first[:, 0] = True
        torch.testing.assert_close(layer(x, keys, mask, bias), layer(x, keys, first), atol=1e-6, rtol=0)
        nothing = torch.zeros_like(mask)
        assert layer(x, keys, nothing, bias).abs().max() == 0

    def test_without_a_key_it_answers_zeros_and_learns(self) -> None:
        layer = MultiHeadAttention(8, 2)
        mask = lengths_mask().clone()
        mask[1] = False
        keys = torch.randn(3, 9, 8, requires_grad=True)
        out = layer(torch.randn(3, 2, 8), keys, mask)
        assert out[1].abs().max() == 0
        out.square().sum().backward()
        assert keys.grad is not None
        assert torch.isfinite(keys.grad).all()
        assert keys.grad[~mask].abs().max() == 0
        assert all(torch.isfinite(p.grad).all() for p in layer.parameters())

    def test_rotary_sees_only_differences_of_position(self) -> None:
        layer = MultiHeadAttention(8, 2, rotary=True).eval()
        x = torch.randn(1, 4, 8)
        late = torch.cat([torch.zeros(1, 3, 8), x], dim=1)
        mask = torch.tensor([[False] * 3 + [True] * 4])
        here = layer(x, x, torch.ones(1, 4, dtype=torch.bool))
        torch.testing.assert_close(layer(late, late, mask)[:, 3:], here, atol=1e-6, rtol=0)
        swapped = layer(x.flip(1), x.flip(1), torch.ones(1, 4, dtype=torch.bool)).flip(1)
        assert (swapped - here).abs().max() > 1e-4

    @pytest.mark.parametrize(("dim", "heads", "rotary"), [(10, 4, False), (12, 4, True)])
    def test_widths_that_do_not_fit_are_refused(self, dim: int, heads: int, rotary: bool) -> None:
        with pytest.raises(ValueError, match=str(dim)):
            MultiHeadAttention(dim, heads, rotary=rotary)


class TestTransformer:
    def test_padding_does_not_leak(self) -> None:
        stack = Transformer(8, 2, 2, rotary=True).eval()
        x, mask = torch.randn(3, 9, 8), lengths_mask()
        out = stack(x, mask)
        assert out[~mask].abs().max() == 0
        for row, length in enumerate(LENGTHS):
            alone = stack(x[row : row + 1, :length], mask[row : row + 1, :length])
            torch.testing.assert_close(out[row : row + 1, :length], alone, atol=1e-6, rtol=0)

    def test_a_query_without_memory_passes_through_attention(self) -> None:
        block = CrossBlock(8, 2).eval()
        nn.init.zeros_(block.feed.down.weight)
        nn.init.zeros_(block.feed.down.bias)
        queries = torch.randn(2, 3, 8)
        out = block(queries, torch.randn(2, 4, 8), torch.zeros(2, 4, dtype=torch.bool))
        torch.testing.assert_close(out, queries)

    def test_stochastic_depth_drops_whole_rows_and_keeps_the_mean(self) -> None:
        x = torch.ones(4000, 2, 3)
        dropped = drop_path(x, 0.25, training=True)
        rows = dropped[:, 0, 0]
        assert rows.unique().tolist() == pytest.approx([0.0, 4 / 3])
        assert (dropped == rows[:, None, None]).all()
        assert dropped.mean() == pytest.approx(1.0, abs=0.05)
        assert drop_path(x, 0.25, training=False) is x


class TestMaskedBatchNorm:
    @pytest.mark.parametrize("shape", [(4, 3, 7), (4, 3, 5, 6)])
    def test_equals_torch_when_all_is_real(self, shape: tuple[int, ...]) -> None:
        ours = MaskedBatchNorm(3)
        theirs = nn.BatchNorm1d(3) if len(shape) == 3 else nn.BatchNorm2d(3)
        keep = torch.ones(shape[0], *[1] * (len(shape) - 2), shape[-1])
        for _ in range(2):
            x = torch.randn(shape) * 3 + 1
            torch.testing.assert_close(ours(x, keep), theirs(x))
        torch.testing.assert_close(ours.running_mean, theirs.running_mean)
        torch.testing.assert_close(ours.running_var, theirs.running_var)
        x = torch.randn(shape)
        torch.testing.assert_close(ours.eval()(x, keep), theirs.eval()(x))

    def test_statistics_count_real_positions_only(self) -> None:
        mask = lengths_mask()
        x = torch.randn(3, 5, 2, 9) * 2 + 3
        x[~mask[:, None, None].expand_as(x)] = 1e3
        real = x.permute(0, 3, 1, 2)[mask]  # [real frames, C, F]
        ours, theirs = MaskedBatchNorm(5), nn.BatchNorm1d(5)
        out = ours(x, mask[:, None, None].float()).permute(0, 3, 1, 2)[mask]
        torch.testing.assert_close(out, theirs(real), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(ours.running_mean, theirs.running_mean)
        torch.testing.assert_close(ours.running_var, theirs.running_var)

    def test_a_batch_without_the_modality_changes_nothing(self) -> None:
        norm = MaskedBatchNorm(2)
        before = {name: value.clone() for name, value in norm.state_dict().items()}
        out = norm(torch.randn(3, 2, 4), torch.zeros(3, 1, 4))
        assert torch.isfinite(out).all()
        assert all(torch.equal(value, before[name]) for name, value in norm.state_dict().items())

    def test_a_single_value_is_no_error(self) -> None:
        assert torch.isfinite(MaskedBatchNorm(2)(torch.randn(1, 2, 1), torch.ones(1, 1, 1))).all()


class TestConvolutions:
    @pytest.mark.parametrize("make", [lambda: ConvBlock1d(6, 6, 5), lambda: DepthwiseSeparable1d(6, 5)])
    def test_padding_does_not_leak_1d(self, make) -> None:
        block = used(make())
        mask = lengths_mask()
        x = torch.randn(3, 6, 9) * mask[:, None]
        out = block(x, mask[:, None].float())
        for row, length in enumerate(LENGTHS):
            alone = block(x[row : row + 1, :, :length], torch.ones(1, 1, length))
            torch.testing.assert_close(out[row : row + 1, :, :length], alone, atol=1e-6, rtol=0)
            assert out[row, :, length:].abs().sum() == 0

    @pytest.mark.parametrize(
        "make",
        [
            lambda: ResidualBlock2d(1, 4, stride=2),
            lambda: ConvBlock2d(1, 4, 5, stride=2),
            lambda: ConvBlock2d(1, 4, 3, stride=(2, 2)),
        ],
    )
    def test_padding_does_not_leak_2d(self, make) -> None:
        block = used(make())
        mask = lengths_mask()
        x = torch.randn(3, 1, 8, 9) * mask[:, None, None]
        half = every(mask, 2)
        out = block(x, half[:, None, None].float())
        for row, length in enumerate(LENGTHS):
            frames = (length + 1) // 2
            alone = block(x[row : row + 1, ..., :length], torch.ones(1, 1, 1, frames))
            torch.testing.assert_close(out[row : row + 1, ..., :frames], alone, atol=1e-6, rtol=0)
            assert out[row, ..., frames:].abs().sum() == 0

    @pytest.mark.parametrize("step", [1, 2, 3])
    def test_every(self, step: int) -> None:
        mask = torch.rand(4, 11) > 0.4
        assert torch.equal(every(mask, step), mask[:, ::step])

    def test_residual_stages_halve_after_the_first(self) -> None:
        blocks = residual_stages((4, 8, 16), 2)
        assert [block.stride for block in blocks] == [1, 1, 2, 1, 2, 1]
        x = torch.randn(2, 4, 16, 12)
        for block in blocks:
            x = block(x, torch.ones(2, 1, 1, 1))
        assert x.shape == (2, 16, 4, 3)

    def test_receptive_frames_by_gradient(self) -> None:
        layers = [(5, 2), (3, 1), (3, 2), (3, 1)]
        x = torch.zeros(1, 1, 101, requires_grad=True)
        y = x
        for kernel, stride in layers:
            weight = torch.ones(1, 1, kernel)
            y = nn.functional.conv1d(y, weight, stride=stride, padding=kernel // 2)
        y[0, 0, y.shape[2] // 2].backward()
        assert x.grad is not None
        assert int((x.grad != 0).sum()) == receptive_frames(layers)


class TestPooling:
    def test_mean_of_real_steps(self) -> None:
        x, mask = torch.randn(3, 9, 4), lengths_mask()
        for row, length in enumerate(LENGTHS):
            torch.testing.assert_close(masked_mean(x, mask)[row], x[row, :length].mean(dim=0))
        assert masked_mean(x, torch.zeros_like(mask)).abs().sum() == 0

    @pytest.mark.parametrize("make", [lambda: AttentiveStatistics(4), lambda: QueryPooling(4, 3, 2)])
    def test_padding_does_not_leak(self, make) -> None:
        pool = make().eval()
        x, mask = torch.randn(3, 9, 4), lengths_mask()
        out = pool(x, mask)
        for row, length in enumerate(LENGTHS):
            alone = pool(x[row : row + 1, :length], mask[row : row + 1, :length])
            torch.testing.assert_close(out[row : row + 1], alone, atol=1e-6, rtol=0)

    @pytest.mark.parametrize("make", [lambda: AttentiveStatistics(4), lambda: QueryPooling(4, 3, 2)])
    def test_without_a_step_it_is_constant(self, make) -> None:
        pool = make().eval()
        nothing = torch.zeros(2, 9, dtype=torch.bool)
        first, second = pool(torch.randn(2, 9, 4), nothing), pool(torch.zeros(2, 9, 4), nothing)
        assert torch.isfinite(first).all()
        assert torch.equal(first, second)

    def test_statistics_are_mean_and_deviation_when_attention_is_even(self) -> None:
        pool = AttentiveStatistics(4)
        nn.init.zeros_(pool.score.weight)
        x, mask = torch.randn(3, 9, 4), lengths_mask((9, 4, 2))
        out = pool(x, mask)
        for row, length in enumerate((9, 4, 2)):
            real = x[row, :length]
            expected = torch.cat([real.mean(dim=0), real.std(dim=0, correction=0)])
            torch.testing.assert_close(out[row], expected, atol=1e-5, rtol=1e-4)


def test_gru_equals_packed_torch() -> None:
    ours = MaskedBiGru(5, 3, 1).eval()
    theirs = nn.GRU(5, 3, batch_first=True, bidirectional=True)
    for name, parameter in ours.ahead[0].named_parameters():
        getattr(theirs, name).data.copy_(parameter.data)
    for name, parameter in ours.back[0].named_parameters():
        getattr(theirs, f"{name}_reverse").data.copy_(parameter.data)
    x, mask = torch.randn(3, 9, 5), lengths_mask()
    packed = nn.utils.rnn.pack_padded_sequence(x, torch.tensor(LENGTHS), batch_first=True)
    expected, _ = nn.utils.rnn.pad_packed_sequence(theirs(packed)[0], batch_first=True)
    torch.testing.assert_close(ours(x, mask), expected, atol=1e-6, rtol=0)


def test_statistics_of_the_real_steps() -> None:
    x, mask = torch.randn(3, 9, 4), lengths_mask()
    found = masked_statistics(x, mask)
    for row, length in enumerate(LENGTHS):
        torch.testing.assert_close(found[row, :4], x[row, :length].mean(dim=0))
        deviation = x[row, :length].std(dim=0, unbiased=False).clamp(min=1e-3)
        torch.testing.assert_close(found[row, 4:], deviation)
