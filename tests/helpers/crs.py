"""Where the tests have the OWASP Core Rule Set from: BUCHNER_CRS, or what scripts/install-peers.sh installs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

INSTALLED = Path("/usr/local/share/coreruleset")


def core_rules() -> str:
    """The directory; without one the test is skipped (a failure with CI=true)."""
    if named := os.environ.get("BUCHNER_CRS"):
        return named
    if not (INSTALLED / "rules").is_dir():
        message = "no Core Rule Set: run scripts/install-peers.sh, or set BUCHNER_CRS"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return str(INSTALLED)


SCORING = r"""
SecRequestBodyAccess On
SecRequestBodyNoFilesLimit 10000000
SecResponseBodyAccess On
SecResponseBodyLimit 1000
SecResponseBodyLimitAction ProcessPartial
SecAction "id:1,phase:1,pass,nolog,setvar:tx.inbound_anomaly_score_threshold=5,\
    setvar:tx.blocking_inbound_anomaly_score=0"
SecRule ARGS "@rx (select|union)" \
    "id:942100,phase:2,pass,capture,t:none,t:lowercase,log,auditlog,severity:CRITICAL,msg:'SQL words',\
    logdata:'%{MATCHED_VAR}',tag:'attack-sqli',setvar:tx.blocking_inbound_anomaly_score=+5"
SecRule ARGS "@contains odd" \
    "id:920100,phase:2,pass,log,auditlog,severity:WARNING,msg:'Odd',setvar:tx.blocking_inbound_anomaly_score=+3"
SecRule REQUEST_HEADERS:User-Agent "@contains scanner" \
    "id:913100,phase:1,pass,log,auditlog,severity:CRITICAL,msg:'Scanner',setvar:tx.blocking_inbound_anomaly_score=+5"
SecRule REQUEST_HEADERS:X-Early "@streq 1" "id:913101,phase:1,deny,status:403,log,auditlog,msg:'Early'"
SecRule TX:blocking_inbound_anomaly_score "@ge %{tx.inbound_anomaly_score_threshold}" \
    "id:949110,phase:2,deny,status:403,log,auditlog,\
    msg:'Inbound Anomaly Score Exceeded (Total Score: %{tx.blocking_inbound_anomaly_score})',\
    tag:'anomaly-evaluation'"
SecRule RESPONSE_HEADERS:X-Leak "@streq 1" "id:950100,phase:3,deny,status:500,log,auditlog,msg:'Leak'"
SecRule RESPONSE_BODY "@contains secret" "id:951100,phase:4,deny,status:500,log,auditlog,msg:'Secret'"
"""
"""A few rules that score as the Core Rule Set does."""
