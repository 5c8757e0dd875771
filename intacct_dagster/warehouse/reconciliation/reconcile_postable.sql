-- A row is a line of a document that may be posted and that Intacct does not have, or that was posted
-- from here and may have changed since; the lines of a document come together, in their order.
SELECT
    feed_lines._entity,
    feed_lines._day,
    feed_lines._document,
    {{columns}}
FROM memory.main.feed_lines
INNER JOIN memory.main.matched
    ON matched._entity = feed_lines._entity
    AND matched._day = feed_lines._day
    AND matched.source_id = feed_lines._document
    AND matched.occurrence = feed_lines._occurrence
WHERE matched.invalid IS NULL AND matched.occurrence = 1 AND (matched.matches = 0 OR matched.state = 'posted')
ORDER BY feed_lines._entity, feed_lines._day, feed_lines._document, {{line_order}}
