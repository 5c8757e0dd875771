-- A row is a line of such a document, every value as it came, with the change time of the document.
SELECT
    {{columns}},
    parents.changed AS {{dated_by}}
FROM {{pages}} AS lines
INNER JOIN memory.main.parents AS parents
    ON parents.key = json_extract_string(lines.{{parent_key}}, '$')
    AND {{same_time}}
