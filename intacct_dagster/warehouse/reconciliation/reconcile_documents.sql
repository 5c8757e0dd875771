-- A row is one occurrence of a source document in the partitions that are reconciled.
CREATE TABLE memory.main.documents AS
SELECT
    _entity,
    _day,
    _document AS source_id,
    any_value(CAST({{source_id}} AS VARCHAR)) AS number,
    any_value({{party}}) AS party,
    _occurrence AS occurrence,
    any_value(_invalid) AS invalid,
    arg_min(_file, (_file, _line)) AS file,
    arg_min(_line, (_file, _line)) AS line,
    count(*) AS lines,
    {{amount}} AS amount,
    {{compared}} AS compared
FROM memory.main.feed_lines
GROUP BY _entity, _day, _document, _occurrence
