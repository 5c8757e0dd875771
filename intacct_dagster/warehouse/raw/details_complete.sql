-- A row is a row of the pages, every value as it came, with values of its record, which is the same
-- version of it: what changed or went before its record was read is left out.
SELECT
    {{columns}},
    {{got}}
FROM {{pages}} AS pages
INNER JOIN {{records}} AS records
    ON json_extract_string(records.json, '$.key') = json_extract_string(pages.key, '$')
    AND {{same_time}}
