-- A row is a row of Intacct's pages that must not be stored: without a key, of another entity, with a
-- value that would not arrive as it is, or outside the days that were asked for; the worst one only.
-- `_flaw` names the column and shows the value; null is good. `_file` is the page.
WITH wire AS (
    SELECT {{typed}},
        {{flaw}} AS _flaw,
        _file
    FROM {{pages}}
)
SELECT {{key}}, {{entity}}, _flaw, CAST({{changed}} AS VARCHAR), _file
FROM wire
WHERE nullif({{key}}, '') IS NULL
    OR _flaw IS NOT NULL
    OR nullif({{entity}}, '') <> $own
    OR {{day}} IS NULL
    OR NOT list_contains($days::DATE[], {{day}})
ORDER BY
    nullif({{key}}, '') IS NOT NULL,
    nullif({{entity}}, '') IS NULL OR {{entity}} = $own,
    _flaw IS NULL,
    {{key}}
LIMIT 1
