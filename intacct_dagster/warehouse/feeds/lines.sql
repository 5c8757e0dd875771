-- A row is a record of a source, typed; `_kind` and `_reason` say why it goes into quarantine, null
-- means it is good. `_source_id` is the document it belongs to, where that could be read at all.
WITH typed AS (
    SELECT
        {{typed}},
        {{source_columns}},
        _file,
        _file_order,
        _line,
        _raw,
        _source_id AS _given_source_id,
        _certain,
        _kind AS _broken_kind,
        _reason AS _broken_reason
    FROM memory.main.records
),

tried AS (
    SELECT typed.*{{tried}}
    FROM typed
),

computed AS (
    SELECT tried.*{{computed}}
    FROM tried
)

SELECT
    {{columns}},
    {{document}} AS _document,
    _file,
    _file_order,
    _line,
    _raw,
    coalesce(_given_source_id, nullif({{source_id}}, '')) AS _source_id,
    _certain AND coalesce(_broken_kind IS NOT NULL OR {{source_id}} <> '', false) AS _certain,
    coalesce(_broken_kind, {{kinds}}) AS _kind,
    coalesce(_broken_reason, nullif(concat_ws('; ', {{reasons}}), '')) AS _reason
FROM computed
