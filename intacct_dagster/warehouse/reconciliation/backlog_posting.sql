-- A row is a partition whose plan has what was not sent since it was planned, and when it was planned.
-- What Intacct rejected before may be sent again; what it accepted, or may have accepted, may not.
WITH sent AS (
    SELECT _entity, source_id, 'create' AS action, NULL AS payload_hash, state, recorded_at
    FROM {{outcomes}}
    UNION ALL
    SELECT _entity, source_id, 'change' AS action, payload_hash, state, recorded_at
    FROM {{changes}}
    WHERE feed = $feed
)

SELECT planned._entity, planned._day, max(planned.planned_at) AS planned_at
FROM {{plan}} AS planned
ANTI JOIN sent
    ON sent._entity = planned._entity
    AND sent.source_id = planned.source_id
    AND sent.action = planned.action
    AND coalesce(sent.payload_hash, planned.payload_hash) = planned.payload_hash
    AND (
        sent.state = 'uncertain'
        OR (sent.state = 'posted' AND (sent.action = 'create' OR sent.recorded_at >= planned.planned_at))
        OR (sent.state = 'rejected' AND sent.recorded_at >= planned.planned_at)
    )
WHERE list_contains($actions::VARCHAR[], planned.action)
    AND list_contains($entities::VARCHAR[], planned._entity)
GROUP BY ALL
ORDER BY ALL
