-- A row is a row of the partitions that a load replaces.
DELETE FROM {{raw}} WHERE {{partitions}}
