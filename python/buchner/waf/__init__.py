"""The firewall for Python programs: rules of ModSecurity's language, such as the OWASP Core Rule Set, judge requests.

::

    from buchner.waf import Engine, Request

    engine = Engine.from_crs()
    result = engine.check(Request("GET", "/?q=1%27%20or%20%271%27=%271"))
    print(result.blocked, result.score, result.rules)

`Middleware` puts it before a WSGI app that another server runs.
"""

from buchner.waf.crs import Ruleset, find
from buchner.waf.engine import Engine, Transaction
from buchner.waf.judgement import Intervention, Match, Result, Scores
from buchner.waf.message import Request, Response
from buchner.waf.middleware import Middleware
from buchner.waf.record import AuditLog, Record

__all__ = [
    "AuditLog",
    "Engine",
    "Intervention",
    "Match",
    "Middleware",
    "Record",
    "Request",
    "Response",
    "Result",
    "Ruleset",
    "Scores",
    "Transaction",
    "find",
]
