-- A row is a {{party}} of an entity, on the last day that was read.
CREATE OR REPLACE VIEW warehouse.intacct.{{which}}_ageing AS
SELECT *
FROM intacct.{{which}}_ageing_on((
    SELECT max(loads.day) FROM meta.raw_loads AS loads WHERE loads.object = {{object}}
))
