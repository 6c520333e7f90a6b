-- Says what runs on nodes.
--
-- KEYS  what runs on each of them (string); one at least
-- Returns the documents in the order of the keys; nil for a node that told nothing.
return redis.call('MGET', unpack(KEYS))
