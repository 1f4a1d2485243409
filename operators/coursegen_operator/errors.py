"""What may go wrong between the operator and the API server.

::

    RetryableError
    ├── ClusterUnavailable   no answer, or "later": the same call may succeed
    ├── QuotaExceeded        a quota of the namespace is used up, which frees itself when something goes
    └── WriteConflict        somebody else has written in between
    OperatorError
    ├── NotPermitted         RBAC refuses this call
    └── KindAbsent           the API server does not know the kind: its CRD is not installed
    PermanentError
    ├── ObjectRefused        the API server does not accept the object as it stands
    ├── AdmissionDenied      it would, and a policy of the cluster does not
    ├── AlreadyThere         an object of that name exists
    └── ObjectGone           the object to be written, or its namespace, is not there any more
    CoursegenError
    └── LeadershipLost       another one reconciles from now on
"""

from __future__ import annotations

from services.kernel.errors import CoursegenError, OperatorError, PermanentError, RetryableError


class ClusterUnavailable(RetryableError):
    """The API server does not answer for the moment."""

    code = "cluster_unavailable"


class QuotaExceeded(RetryableError):
    """A quota of the namespace is used up for the moment."""

    code = "quota_exceeded"


class WriteConflict(RetryableError):
    """The object has been written by somebody else in between."""

    code = "write_conflict"


class NotPermitted(OperatorError):
    """The operator's service account is not allowed to do this."""

    code = "not_permitted"


class KindAbsent(OperatorError):
    """The API server does not know this kind of resource."""

    code = "kind_absent"


class ObjectRefused(PermanentError):
    """The API server does not accept the object."""

    code = "object_refused"


class AdmissionDenied(PermanentError):
    """A policy of the cluster does not let the object in."""

    code = "admission_denied"


class AlreadyThere(PermanentError):
    """There is an object of that name already."""

    code = "already_there"


class ObjectGone(PermanentError):
    """The object, or its namespace, is not there any more."""

    code = "object_gone"


class LeadershipLost(CoursegenError):
    """Another operator reconciles from now on; this one stops."""

    code = "leadership_lost"
