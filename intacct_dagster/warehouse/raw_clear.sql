-- A row is a row of the partitions that a load replaces.
DELETE FROM {{raw}} WHERE _entity = $entity AND _day IN (SELECT unnest($days::DATE[]))
