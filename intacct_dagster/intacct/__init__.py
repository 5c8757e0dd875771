"""Speaks to Sage Intacct: sessions, queries, walks, models, batches; by REST wherever it can.

Knows neither Dagster nor DuckDB. What is not named here is private.
"""

from intacct_dagster.intacct.authorize import NotThisConsent, code_from, is_loopback, listening
from intacct_dagster.intacct.batch import (
    LARGEST_BATCH,
    BatchAnswer,
    Created,
    Refused,
)
from intacct_dagster.intacct.client import KEYS_IN_A_GET, MOSTLY_PRIVATE, Intacct, IntacctClient
from intacct_dagster.intacct.documents import DocumentFacts, document_facts
from intacct_dagster.intacct.errors import (
    AccessDenied,
    AnswerNotUnderstood,
    AuthenticationRefused,
    ErrorDetail,
    IntacctError,
    NotReached,
    OutcomeUnknown,
    RequestRefused,
    ServerFailed,
    Throttled,
    WalkIncomplete,
    WrongEntity,
)
from intacct_dagster.intacct.grants import AuthorizationCode, ClientCredentials, Consent, Grant
from intacct_dagster.intacct.model import ModelField, ObjectModel, Reference
from intacct_dagster.intacct.query import LARGEST_PAGE, Filter, Order, Query, QueryPage, Scalar
from intacct_dagster.intacct.reasons import Reason, explain
from intacct_dagster.intacct.session import RefreshStep, RefreshWatch, StoredSession
from intacct_dagster.intacct.tokens import MemoryTokenStore, TokenStore
from intacct_dagster.intacct.usage import Usage
from intacct_dagster.intacct.walk import CHANGED, Proof, Told, WalkResult, Window
from intacct_dagster.intacct.xml_gateway import XmlAccess, xml_access
from intacct_dagster.intacct.xml_names import (
    instead_of,
    known_names,
    only_in_xml,
    rest_name,
    rest_path,
    xml_name,
)
from intacct_dagster.intacct.xml_objects import XML_ONLY, XmlObject, xml_object, xml_objects

__all__ = [
    "CHANGED",
    "KEYS_IN_A_GET",
    "LARGEST_BATCH",
    "LARGEST_PAGE",
    "MOSTLY_PRIVATE",
    "XML_ONLY",
    "AccessDenied",
    "AnswerNotUnderstood",
    "AuthenticationRefused",
    "AuthorizationCode",
    "BatchAnswer",
    "ClientCredentials",
    "Consent",
    "Created",
    "DocumentFacts",
    "ErrorDetail",
    "Filter",
    "Grant",
    "Intacct",
    "IntacctClient",
    "IntacctError",
    "MemoryTokenStore",
    "ModelField",
    "NotReached",
    "NotThisConsent",
    "ObjectModel",
    "Order",
    "OutcomeUnknown",
    "Proof",
    "Query",
    "QueryPage",
    "Reason",
    "Reference",
    "RefreshStep",
    "RefreshWatch",
    "Refused",
    "RequestRefused",
    "Scalar",
    "ServerFailed",
    "StoredSession",
    "Throttled",
    "TokenStore",
    "Told",
    "Usage",
    "WalkIncomplete",
    "WalkResult",
    "Window",
    "WrongEntity",
    "XmlAccess",
    "XmlObject",
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
    "xml_objects",
]
