-- A row is a record of a file, typed; `_kind` and `_reason` say why it goes into quarantine, null
-- means it is good. `_source_id` is the document it belongs to, where that could be read at all.
CREATE TABLE memory.main.checked AS
WITH typed AS (
    SELECT
        {{typed}},
        _file,
        _file_order,
        _line,
        _raw,
        coalesce(_source_id, nullif({{source_id}}, '')) AS _source_id,
        _certain AND coalesce(_kind IS NOT NULL OR {{source_id}} <> '', false) AS _certain,
        _kind AS _broken_kind,
        _reason AS _broken_reason,
        {{source_columns}}
    FROM memory.main.records
)
SELECT
    {{columns}},
    _file,
    _file_order,
    _line,
    _raw,
    _source_id,
    _certain,
    coalesce(_broken_kind, {{kinds}}) AS _kind,
    coalesce(_broken_reason, nullif(concat_ws('; ', {{reasons}}), '')) AS _reason
FROM typed
