"""Times in learning: one clock for several Tracks, and attention that reads the frames near its own time first."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from affetto.learn.layers.attention import MultiHeadAttention, masked_softmax
from affetto.records import Track

#: Seconds; frames further away than this are all equally far. A word that lies outside the recording's window
#: then reads it evenly, as a word without a time does, instead of staring at the window's edge.
REACH = 5.0
#: Per second; the first head begins about as narrow as a word, each further one twice as wide as the last.
_FIRST_SLOPE = 4.0


def time_gaps(query_times: Tensor | None, key_times: Tensor | None) -> Tensor | None:
    """|t_query - t_key| in seconds, at most `REACH`, [B Tq Tk], from times [B Tq] and [B Tk].

    It is 0 where either time is NaN, that is unknown; None where one side has no times at all.
    """
    if query_times is None or key_times is None:
        return None
    gaps = (query_times[:, :, None] - key_times[:, None, :]).abs().clamp(max=REACH)
    return torch.where(torch.isnan(gaps), 0.0, gaps)


def places(tracks: Sequence[Track]) -> list[Tensor]:
    """Where in the recording each step lies, from 0, its beginning, to 1, its end: [B T] for each Track.

    The recording reaches from the first to the last time that any Track knows. A step without a known time
    lies where its number puts it, as if the steps of its Track were spread evenly.
    """
    known = [_known(track) for track in tracks]
    times = [track.mask.float() if track.times is None else track.times for track in tracks]
    first = [torch.where(k, t, torch.inf).amin(dim=1) for k, t in zip(known, times, strict=True)]
    last = [torch.where(k, t, -torch.inf).amax(dim=1) for k, t in zip(known, times, strict=True)]
    begin = torch.stack(first).amin(dim=0)[:, None]
    length = (torch.stack(last).amax(dim=0)[:, None] - begin).clamp(min=1e-3)
    return [
        torch.where(k, (t - begin) / length, _evenly(track.mask))
        for k, t, track in zip(known, times, tracks, strict=True)
    ]


def on_clock(track: Track, place: Tensor, clock: Tensor, width: float | Tensor) -> Tensor:
    """A Track's values [B S D] at the moments of a clock [B S] (or [1 S]), zeros in rows without a real step.

    Each is the mean of all real steps, weighted by exp(-distance / width): kernel regression (Nadaraya 1964).
    place: [B T], see `places`; the clock and its width, a number or [B 1 1], are shares of the recording too.
    """
    distance = (clock[:, :, None] - place[:, None, :]).abs()
    return masked_softmax(-distance / width, track.mask[:, None].expand_as(distance)) @ track.values


def _known(track: Track) -> Tensor:
    """[B T] bool: which real steps have a time."""
    if track.times is None:
        return torch.zeros_like(track.mask)
    return track.mask & ~torch.isnan(track.times)


def _evenly(mask: Tensor) -> Tensor:
    """The middles of as many equal stretches of 0 .. 1 as there are real steps: mask [B T] bool -> [B T]."""
    real = mask.float()
    return (real.cumsum(dim=1) - 0.5) / real.sum(dim=1, keepdim=True).clamp(min=1.0)


class AlignedAttention(nn.Module):
    """Queries take from a memory what was there at their time: x + tanh(gate) * attention(x, memory).

    Every score loses slope * gap, the gap in seconds and the slope learned per head: the linear bias of Press
    et al. 2022 ("ALiBi") on a clock instead of on positions. The bias is soft, so a word whose time is a
    little off loses little, and where a time is unknown this is plain attention. The gate (Alayrac et al.
    2022, "Flamingo") begins at zero: at first, and in rows without memory always, queries pass unchanged.
    """

    def __init__(self, dim: int, heads: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.query_norm = nn.LayerNorm(dim)
        self.memory_norm = nn.LayerNorm(dim)
        self.attention = MultiHeadAttention(dim, heads, dropout=dropout)
        first = torch.tensor(_FIRST_SLOPE).log2()
        # Kept as powers of two, so that no step of training can turn a slope's sign.
        self.slopes = nn.Parameter(first - torch.arange(heads, dtype=torch.float32))
        self.gate = nn.Parameter(torch.zeros(1))
        self.dropout = nn.Dropout(dropout)

    def forward(self, queries: Tensor, memory: Tensor, memory_mask: Tensor, gaps: Tensor | None) -> Tensor:
        """queries: [B Tq D]; memory: [B Tk D]; memory_mask: [B Tk] bool; gaps: [B Tq Tk], see `time_gaps`.

        Returns [B Tq D].
        """
        bias = None if gaps is None else -torch.exp2(self.slopes)[:, None, None] * gaps[:, None]
        read = self.attention(self.query_norm(queries), self.memory_norm(memory), memory_mask, bias)
        return queries + torch.tanh(self.gate) * self.dropout(read)
