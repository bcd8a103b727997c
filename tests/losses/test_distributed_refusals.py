"""What is wrong on one rank stops all of them, and says where; the next step is right."""

import pytest

from tests.losses.distributed_cases import N, make, outcome, parts


def misuse(rank, size, batch, which, change, settings):
    """Rank `which` gives something else, then all give a good batch."""
    z, y = change(*batch[rank]) if rank == which else batch[rank]
    found = outcome(make(**(settings if rank == which else {})), z, y)
    return found, outcome(make(), *batch[rank])


def unchanged(z, y):
    return z, y


def with_nan(z, y):
    return z * float("nan"), y


def with_large_label(z, y):
    return z, y + N


def with_list(z, y):
    return z.tolist(), y


def with_wrong_dim(z, y):
    return z[:, 1:], y


def with_double(z, y):
    return z.double(), y


def with_empty_bfloat16(z, y):
    return z[:0].bfloat16(), y[:0]


@pytest.mark.parametrize(
    "change, settings, own, others",
    [
        (with_nan, {}, "ValueError: embeddings: ", "RuntimeError: rank 1 of 3"),
        (with_large_label, {}, "ValueError: labels lie in", "RuntimeError: rank 1 of 3"),
        (with_list, {}, "ValueError: embeddings are list", "RuntimeError: rank 1 of 3"),
        (with_wrong_dim, {}, "ValueError: embeddings have shape", "RuntimeError: rank 1 of 3"),
        (with_double, {}, "RuntimeError: embeddings of rank 1", "RuntimeError: embeddings of rank 1"),
        (with_empty_bfloat16, {}, "RuntimeError: embeddings of rank 1", "RuntimeError: embeddings of rank 1"),
        (unchanged, {"proxy_init": "data"}, 'RuntimeError: proxy_init="data"', "RuntimeError: rank 1 of 3"),
        (unchanged, {"alpha": 2.0}, "RuntimeError: the loss has other", "RuntimeError: the loss has other"),
        (unchanged, {"proxies_per_class": 2}, "RuntimeError: the loss has other", "RuntimeError: the loss has other"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_bad_input_on_one_rank_stops_all(ranks, change, settings, own, others):
    found = ranks(misuse, 3, parts(0, (5, 4, 3)), 1, change, settings)
    for rank, (bad, good) in enumerate(found):
        assert bad.startswith(own if rank == 1 else others), bad
        assert good == "fine"


def test_a_joined_batch_of_one_is_refused(ranks):
    for bad, _ in ranks(misuse, 2, parts(0, (1, 0)), None, unchanged, {}):
        assert bad == "ValueError: embeddings of all ranks hold a batch of 1; expected at least 2"


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match=r"gather='mean'.*ddp, sum, off"):
        make(gather="mean")
    with pytest.raises(ValueError, match="shard_proxies='yes'"):
        make(shard_proxies="yes")
    with pytest.raises(ValueError, match='gather="off" with shard_proxies=True'):
        make(gather="off", shard_proxies=True)
