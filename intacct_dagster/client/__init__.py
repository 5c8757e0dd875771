"""Speaks to Sage Intacct: sessions, queries, pagination, models, batches; by REST wherever it can.

Knows neither Dagster nor DuckDB. What is not named here is private.
"""

from intacct_dagster.client.auth.authorize import (
    NotThisConsent,
    code_from,
    listening,
)
from intacct_dagster.client.auth.oauth import (
    AuthorizationCode,
    ClientCredentials,
    Consent,
)
from intacct_dagster.client.auth.session import (
    StoredSession,
)
from intacct_dagster.client.batch import (
    BatchResponse,
    Created,
)
from intacct_dagster.client.company import (
    Intacct,
)
from intacct_dagster.client.documents import (
    document_facts,
)
from intacct_dagster.client.entity_client import (
    KEYS_IN_A_GET,
    IntacctClient,
)
from intacct_dagster.client.errors import (
    AccessDenied,
    AnswerNotUnderstood,
    AuthenticationRefused,
    ClockWrong,
    HistoryWentBack,
    IntacctError,
    NotReached,
    OutcomeUnknown,
    PaginationIncomplete,
    RequestRefused,
    ServerFailed,
    Throttled,
    WrongEntity,
)
from intacct_dagster.client.http.address import (
    address_flaw,
    is_loopback,
)
from intacct_dagster.client.http.bounds import (
    Bounds,
)
from intacct_dagster.client.http.usage import (
    Usage,
)
from intacct_dagster.client.model import (
    ModelField,
    ObjectModel,
    Reference,
)
from intacct_dagster.client.pagination.paginate import (
    OnProgress,
    PaginationResult,
)
from intacct_dagster.client.pagination.window import (
    CHANGED,
    ChangeWindow,
)
from intacct_dagster.client.query import (
    LARGEST_PAGE,
    Filter,
    Query,
    Scalar,
)
from intacct_dagster.client.rejection_reasons import (
    explain,
)
from intacct_dagster.client.scope import (
    MOSTLY_PRIVATE,
)
from intacct_dagster.client.xml.access import (
    XmlAccess,
    xml_access,
)
from intacct_dagster.client.xml.names import (
    instead_of,
    known_names,
    only_in_xml,
    rest_name,
    rest_path,
    xml_name,
)
from intacct_dagster.client.xml.objects import (
    XML_ONLY,
    xml_object,
)

__all__ = [
    "CHANGED",
    "KEYS_IN_A_GET",
    "LARGEST_PAGE",
    "MOSTLY_PRIVATE",
    "XML_ONLY",
    "AccessDenied",
    "AnswerNotUnderstood",
    "AuthenticationRefused",
    "AuthorizationCode",
    "BatchResponse",
    "Bounds",
    "ChangeWindow",
    "ClientCredentials",
    "ClockWrong",
    "Consent",
    "Created",
    "Filter",
    "HistoryWentBack",
    "Intacct",
    "IntacctClient",
    "IntacctError",
    "ModelField",
    "NotReached",
    "NotThisConsent",
    "ObjectModel",
    "OnProgress",
    "OutcomeUnknown",
    "PaginationIncomplete",
    "PaginationResult",
    "Query",
    "Reference",
    "RequestRefused",
    "Scalar",
    "ServerFailed",
    "StoredSession",
    "Throttled",
    "Usage",
    "WrongEntity",
    "XmlAccess",
    "address_flaw",
    "code_from",
    "document_facts",
    "explain",
    "instead_of",
    "is_loopback",
    "known_names",
    "listening",
    "only_in_xml",
    "rest_name",
    "rest_path",
    "xml_access",
    "xml_name",
    "xml_object",
]
