-- A row is a delete scan that was stored already, and how many of its tombstones are there.
SELECT
    loads.load_id,
    (SELECT count(*) FROM warehouse.meta.tombstones WHERE load_id = loads.load_id) AS there
FROM warehouse.meta.loads AS loads
WHERE
    loads.object = $object
    AND loads.entity = $entity
    AND loads.kind = 'delete_scan'
    AND loads.read_from = $found_at
