-- A row is a record in Intacct that carries the id of one of the source documents, with the fields
-- that are compared.
CREATE TABLE memory.main.intacct AS
SELECT {{columns}}
FROM {{current}}
WHERE {{match_on}} IN (SELECT number FROM memory.main.documents)
