-- A row is a document none of whose occurrences may be posted, by its id and entity, and why.
CREATE TABLE memory.main.sources AS
WITH files AS (
    SELECT DISTINCT _file_order, _file
    FROM memory.main.lines
),

differing AS (
    -- a row is an id of an entity that different documents carry
    SELECT document, entity
    FROM memory.main.occurrences
    GROUP BY document, entity
    HAVING min(lines) <> max(lines)
        OR min(content) <> max(content)
        OR min(content_again) <> max(content_again)
),

mixed AS (
    -- A row is a number whose lines in one file are of several entities or parties. They are several
    -- documents if each of them adds up, or begins to number its lines; else one that errs.
    SELECT source_id
    FROM (
        SELECT
            {{source_id}} AS source_id,
            _file,
            min({{line_id}}) AS first_line
        FROM memory.main.lines
        GROUP BY {{source_id}}, _file, _document, {{entity}}
    )
    GROUP BY source_id, _file
    HAVING count(*) > 1 AND min(first_line) <> max(first_line) AND NOT {{cannot_be_cut}}
),

unassigned AS (
    -- a row is a file with a line in quarantine that may be of any document of the file
    SELECT
        _file,
        concat(
            'line ', min(_line), ' of ', _file, ' is in quarantine and may belong to any document of',
            ' the file; give the feed `control_totals`, and documents that add up are safe from that'
        ) AS reason
    FROM memory.main.checked
    WHERE _kind IS NOT NULL AND NOT _certain AND NOT {{cannot_be_cut}}
    GROUP BY _file
),

unread AS (
    -- the one row is the first file of which nothing could be read
    SELECT
        concat(
            arg_min(_file, _file_order),
            ' could not be read, and documents may continue in it; give the feed `control_totals`, and',
            ' documents that add up are safe from that'
        ) AS reason
    FROM memory.main.checked
    WHERE _kind = 'file' AND {{spans_files}} AND NOT {{cannot_be_cut}}
    HAVING count(*) > 0
),

flaws AS (
    -- a row is a flaw of a document; of several the first in this order is reported
    SELECT
        1 AS place,
        occurrences.document,
        occurrences.entity,
        broken.reason
    FROM memory.main.occurrences
    INNER JOIN (
        SELECT
            _source_id AS source_id,
            arg_min(
                concat('line ', _line, ' of ', _file, ' is in quarantine: ', _reason),
                (_file_order, _line)
            ) AS reason
        FROM memory.main.checked
        WHERE _kind IS NOT NULL AND _source_id IS NOT NULL
        GROUP BY _source_id
    ) AS broken USING (source_id)
    UNION ALL
    SELECT DISTINCT 2, document, entity, {{mixed_reason}}
    FROM memory.main.occurrences
    SEMI JOIN mixed USING (source_id)
    UNION ALL
    SELECT
        3,
        document,
        entity,
        concat(
            'different documents carry this id: ',
            string_agg(concat(files._file, ':', began & ((1::BIGINT << 40) - 1)), ', ' ORDER BY began)
        )
    FROM memory.main.occurrences
    SEMI JOIN differing USING (document, entity)
    INNER JOIN files ON files._file_order = began >> 40
    GROUP BY document, entity
    UNION ALL
    SELECT 4, document, entity, concat('its lines differ in ', conflicts)
    FROM memory.main.occurrences
    WHERE conflicts IS NOT NULL
    UNION ALL
    SELECT 5, document, entity, totals
    FROM memory.main.occurrences
    WHERE totals IS NOT NULL
    UNION ALL
    SELECT DISTINCT 6, _document, {{entity}}, unassigned.reason
    FROM memory.main.lines
    INNER JOIN unassigned USING (_file)
    UNION ALL
    SELECT DISTINCT 7, _document, {{entity}}, unread.reason
    FROM memory.main.lines
    CROSS JOIN unread
)

-- a document in quarantine as a whole has no line that could be posted
SELECT document, entity, arg_min(reason, (place, reason)) AS invalid
FROM flaws
SEMI JOIN memory.main.occurrences USING (document, entity)
GROUP BY document, entity
