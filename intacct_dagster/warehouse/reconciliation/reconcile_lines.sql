-- A row is a line of a source document in one of the partitions that are reconciled.
CREATE TABLE memory.main.feed_lines AS
SELECT feed.*
FROM {{feed}} AS feed
INNER JOIN memory.main.partitions
    ON partitions.entity = feed._entity AND partitions.day = feed._day
