"""Rates of requests in Flask code: `@limit("10/minute")` on a view or a blueprint.

Requests are counted once for all threads and workers of a service. Without Buchner (pytest, `flask run`) they are
counted in the process.

`Limiter` reads Flask-Limiter's decorators, so that an app of it changes its import.
"""

from buchner.limits.decorator import Current, current_limit, limit
from buchner.limits.limiter import Limiter
from buchner.limits.util import get_remote_address

__all__ = ["Current", "Limiter", "current_limit", "get_remote_address", "limit"]
