"""Tests that are to hold with every version of a server that there is."""

from __future__ import annotations

import pytest

from tests.support.servers import other_redis

_OTHER = pytest.mark.skipif(other_redis() is None, reason="there is one version of Redis: apt-get install redis-tools")

each_redis = pytest.mark.parametrize("private_redis", ["own", pytest.param("other", marks=_OTHER)], indirect=True)
"""What Redis answers in trouble is worded anew from version to version."""
