-- A row is a document that was covered by the same entity before, and again after, at the same change
-- time and with the same lines: neither the first nor the last time. Its lines of that time go too.
CREATE OR REPLACE TEMP TABLE repeated_documents AS
WITH contents AS (
    SELECT
        read.{{unit}} AS key,
        read._load_id AS load_id,
        md5(string_agg(md5(CAST(({{content}}) AS VARCHAR)), '' ORDER BY read.{{key}})) AS content
    FROM {{raw}} AS read
    GROUP BY read.{{unit}}, read._load_id
)

SELECT place, key, load_id
FROM (
    SELECT
        documents.rowid AS place,
        documents.key,
        documents._load_id AS load_id,
        (documents.changed, coalesce(contents.content, '')) AS content,
        lag((documents.changed, coalesce(contents.content, ''))) OVER reads AS before,
        lead((documents.changed, coalesce(contents.content, ''))) OVER reads AS after
    FROM {{documents}} AS documents
    LEFT JOIN contents ON contents.key = documents.key AND contents.load_id = documents._load_id
    WINDOW reads AS (
        PARTITION BY documents.key, documents._entity ORDER BY documents._read_at, documents._load_id
    )
)
WHERE content = before AND content = after AND load_id > 0;

CREATE OR REPLACE TEMP TABLE repeats AS
SELECT read.rowid AS place, read._load_id AS load_id
FROM {{raw}} AS read
SEMI JOIN temp.main.repeated_documents AS documents
    ON documents.key = read.{{unit}} AND documents.load_id = read._load_id
