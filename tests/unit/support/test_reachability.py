"""What a cluster may leave open, and what it may not."""

from __future__ import annotations

import pytest

from tests.support.kube.reachability import Landscape, Place, Pod
from tests.support.network_paths import Party

_HTTPS = ("tcp", 443)
_NOBODY = Party("nobody")
_API = Pod("api-1", "10.0.0.1", _NOBODY, frozenset())


def test_what_is_beside_the_pods_may_be_left_open() -> None:
    """As the API server on the pods' own node."""
    landscape = Landscape([_API], [Place("server", "192.0.2.1", _NOBODY, frozenset({_HTTPS}), (_HTTPS,))])
    landscape.excuse({("sealed", "server", _HTTPS)})

    assert landscape.beyond == {("sealed", "server", _HTTPS)}


@pytest.mark.parametrize("target", ["api-1", "its Service", "unknown"])
def test_a_pod_may_not(target: str) -> None:
    """By its name, by another name for its address, or by one that nobody has listed."""
    landscape = Landscape([_API], [Place("its Service", _API.address, _NOBODY, frozenset({_HTTPS}), (_HTTPS,))])

    with pytest.raises(AssertionError, match="may be left open"):
        landscape.excuse({("sealed", target, _HTTPS)})
    assert landscape.beyond == set()
