-- A row is a document and the first record of Intacct's that looks like it and does not carry its id.
SELECT
    source_id,
    min_by(key, key) AS key,
    min_by(why, key) AS why
FROM (
    SELECT
        documents.source_id,
        intacct.{{key}} AS key,
        CASE {{why}} END AS why
    FROM memory.main.documents
    INNER JOIN {{current}} AS intacct
        ON intacct.{{entity}} = documents.entity
        AND intacct.{{party}} = documents.party
    WHERE intacct.{{match_on}} IS DISTINCT FROM documents.number
)
WHERE why IS NOT NULL
GROUP BY source_id
ORDER BY source_id
