-- A row is a partition of a feed whose plan is older than what it rests on: why, and since when.
WITH read AS (
    SELECT _entity, _day, max(_read_at) AS at
    FROM {{feed}}
    GROUP BY ALL
),

reconciled AS (
    SELECT _entity, _day, min(reconciled_at) AS at, bool_or(status IN ({{planned}})) AS to_plan
    FROM {{reconciled}}
    GROUP BY ALL
),

planned AS (
    SELECT _entity, _day, min(planned_at) AS at, bool_or(action = 'held') AS held
    FROM {{plan}}
    GROUP BY ALL
),

changed AS (
    -- the record that stands for a document came, or changed, since the document was reconciled
    SELECT documents._entity, documents._day, max(records._extracted_at) AS at
    FROM {{reconciled}} AS documents
    INNER JOIN {{raw}} AS records
        ON records._entity = documents._entity
        AND CAST(records.{{match_on}} AS VARCHAR) = documents.number
        AND records._extracted_at > documents.reconciled_at
    GROUP BY ALL
),

due AS (
    SELECT
        read._entity,
        read._day,
        CASE
            WHEN reconciled.at IS NULL OR read.at > reconciled.at
                THEN 'it was read since it was reconciled'
            WHEN changed.at IS NOT NULL THEN 'Intacct changed since it was reconciled'
            WHEN reconciled.to_plan AND (planned.at IS NULL OR reconciled.at > planned.at)
                THEN 'it was reconciled since it was planned'
            WHEN planned.held AND planned.at < CAST($held_before AS TIMESTAMP WITH TIME ZONE)
                THEN 'what is held may have been corrected'
        END AS why,
        CASE
            WHEN reconciled.at IS NULL OR read.at > reconciled.at THEN read.at
            WHEN changed.at IS NOT NULL THEN changed.at
            WHEN reconciled.to_plan AND (planned.at IS NULL OR reconciled.at > planned.at)
                THEN reconciled.at
            ELSE CAST($held_before AS TIMESTAMP WITH TIME ZONE)
        END AS since
    FROM read
    LEFT JOIN reconciled USING (_entity, _day)
    LEFT JOIN planned USING (_entity, _day)
    LEFT JOIN changed USING (_entity, _day)
)

SELECT _entity, _day, why, since
FROM due
WHERE why IS NOT NULL AND _entity IN (SELECT unnest($entities::VARCHAR[]))
ORDER BY _entity, _day
