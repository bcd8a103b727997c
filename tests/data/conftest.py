"""Image files of many kinds for the tests of packs."""

import pytest

from tests.data.pictures import encoded, noise


@pytest.fixture
def files() -> dict[str, bytes]:
    """Twelve files of many kinds and shapes in two classes."""
    kinds = [("PNG", "RGB"), ("JPEG", "RGB"), ("JPEG", "L"), ("JPEG", "CMYK"), ("GIF", "P"), ("WEBP", "RGBA")]
    return {
        f"{'ab'[i % 2]}{i}": encoded(noise(30 + 7 * i, 60 - 3 * i, i).convert(kinds[i % 6][1]), kinds[i % 6][0])
        for i in range(12)
    }
