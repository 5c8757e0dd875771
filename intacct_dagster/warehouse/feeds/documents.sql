-- A row is one occurrence of a document, and what of it contradicts itself. Aggregates are numbers:
-- texts in their place would not fit into memory for a feed of many millions of lines.
SELECT
    _document AS document,
    {{entity}} AS entity,
    {{source_id}} AS source_id,
    _occurrence,
    min((_file_order << 40) + _line) AS began,
    count(*) AS lines,
    -- the lines whatever their order, in 128 bits
    sum(hash({{content}})) AS content,
    sum(hash('', {{content}})) AS content_again,
    nullif(concat_ws(', ', {{conflicts}}), '') AS conflicts,
    nullif(concat_ws('; ', {{totals}}), '') AS totals
FROM memory.main.lines
GROUP BY _document, {{entity}}, {{source_id}}, _occurrence
