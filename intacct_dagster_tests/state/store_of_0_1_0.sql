BEGIN TRANSACTION;
CREATE TABLE api_usage (
	id INTEGER NOT NULL, 
	company TEXT NOT NULL, 
	month TEXT NOT NULL, 
	at TEXT NOT NULL, 
	run_id TEXT NOT NULL, 
	entity TEXT NOT NULL, 
	object TEXT NOT NULL, 
	requests INTEGER NOT NULL, 
	transactions INTEGER NOT NULL, 
	PRIMARY KEY (id)
);
CREATE TABLE leases (
	name TEXT NOT NULL, 
	owner TEXT NOT NULL, 
	until FLOAT NOT NULL, 
	PRIMARY KEY (name)
);
CREATE TABLE posting_approvals (
	company TEXT NOT NULL, 
	feed TEXT NOT NULL, 
	entity TEXT NOT NULL, 
	day TEXT NOT NULL, 
	"plan" TEXT NOT NULL, 
	approved_by TEXT NOT NULL, 
	approved_at TEXT NOT NULL, 
	PRIMARY KEY (company, feed, entity, day, "plan")
);
CREATE TABLE posting_changes (
	company TEXT NOT NULL, 
	object TEXT NOT NULL, 
	entity TEXT NOT NULL, 
	source_id TEXT NOT NULL, 
	feed TEXT NOT NULL, 
	day TEXT NOT NULL, 
	amount TEXT NOT NULL, 
	payload BLOB NOT NULL, 
	payload_sha256 TEXT NOT NULL, 
	state TEXT NOT NULL, 
	attempt INTEGER NOT NULL, 
	chunk_id TEXT, 
	position INTEGER, 
	intacct_key TEXT, 
	intacct_id TEXT, 
	error_id TEXT, 
	reason TEXT, 
	what_to_do TEXT, 
	field TEXT, 
	support_id TEXT, 
	read_back_at TEXT, 
	run_id TEXT NOT NULL, 
	updated_at TEXT NOT NULL, 
	document BLOB NOT NULL, 
	document_sha256 TEXT NOT NULL, 
	applied BLOB, 
	applied_sha256 TEXT, 
	applied_amount TEXT, 
	PRIMARY KEY (company, object, entity, source_id), 
	CONSTRAINT state_is_known CHECK (state IN ('planned', 'sending', 'posted', 'rejected', 'uncertain')), 
	CONSTRAINT posted_has_a_key CHECK ((state = 'posted') = (intacct_key IS NOT NULL)), 
	CONSTRAINT refused_has_a_reason CHECK (state <> 'rejected' OR reason IS NOT NULL), 
	CONSTRAINT what_was_sent_has_a_place CHECK (state = 'planned' OR (chunk_id IS NOT NULL AND position IS NOT NULL)), 
	CONSTRAINT a_key_is_changed_by_one UNIQUE (company, object, intacct_key), 
	FOREIGN KEY(chunk_id) REFERENCES posting_chunks (chunk_id)
);
INSERT INTO "posting_changes" VALUES('demo','accounts-receivable/invoice','E110','A','sales','2026-10-13','2.00',X'7B226B6579223A223330222C22616D6F756E74223A22322E3030227D','f0bbc4857d11abad6c2839a861796ea247aead4cbd77e5188754eddd87ff2cba','posted',1,'3b476cbb988e257cceeb11b6488877ab1cc7b9f44e6e0ff1e957bf516db6bd07',0,'30',NULL,NULL,NULL,NULL,NULL,NULL,NULL,'run-1','2026-10-13T18:00:00.033+00:00',X'7B22616D6F756E74223A22322E3030227D','d8263d9c8977d06db6b7e4fe514c8339b739ea7c2d310a6bf96f639c661c8fe4',X'7B22616D6F756E74223A22322E3030227D','d8263d9c8977d06db6b7e4fe514c8339b739ea7c2d310a6bf96f639c661c8fe4','2.00');
INSERT INTO "posting_changes" VALUES('demo','accounts-receivable/invoice','E110','C','sales','2026-10-13','3.00',X'7B226B6579223A223331222C22616D6F756E74223A22332E3030227D','45a8d639bd24a8885882c6822c0aa57681bf37ef07fafeff4d8300577a6784a0','rejected',1,'40a34d653aaed72ce13cfbfe605adc6e78348f7ac06b9c9bfe797270c504b32f',0,NULL,NULL,NULL,'The period is closed.','Open it.',NULL,NULL,NULL,'run-1','2026-10-13T18:00:00.038+00:00',X'7B22616D6F756E74223A22332E3030227D','87bb0ce5947e9685f88288a505b0cdcd1cf518aee785be00384619b283c74d0a',NULL,NULL,NULL);
CREATE TABLE posting_chunks (
	chunk_id TEXT NOT NULL, 
	company TEXT NOT NULL, 
	object TEXT NOT NULL, 
	entity TEXT NOT NULL, 
	feed TEXT NOT NULL, 
	idempotency_key TEXT NOT NULL, 
	body BLOB NOT NULL, 
	body_sha256 TEXT NOT NULL, 
	size INTEGER NOT NULL, 
	state TEXT NOT NULL, 
	run_id TEXT NOT NULL, 
	planned_at TEXT NOT NULL, 
	first_sent_at TEXT, 
	last_sent_at TEXT, 
	answered_at TEXT, 
	http_status INTEGER, 
	note TEXT, 
	method TEXT, 
	split_from TEXT, 
	PRIMARY KEY (chunk_id), 
	CONSTRAINT state_is_known CHECK (state IN ('ready', 'superseded', 'sending', 'uncertain', 'answered')), 
	CONSTRAINT what_was_sent_says_when CHECK (state NOT IN ('sending', 'uncertain', 'answered') OR first_sent_at IS NOT NULL), 
	UNIQUE (idempotency_key), 
	FOREIGN KEY(split_from) REFERENCES posting_chunks (chunk_id)
);
INSERT INTO "posting_chunks" VALUES('941b6c28327216b5684b97c7fa490a8e96b4f0d6c305d9b997a98273f131ca4e','demo','accounts-receivable/invoice','E110','sales','941b6c28327216b5684b97c7fa490a8e96b4f0d6c305d9b997a98273f131ca4e',X'5B7B22616D6F756E74223A22312E3030227D2C7B22616D6F756E74223A22312E3030227D2C7B22616D6F756E74223A22312E3030227D5D','efe9f4a3a48d9a90235b55aeea163ec2bcff906f363f09ea05ab8e46a34217ce',3,'answered','run-1','2026-10-13T18:00:00.001+00:00','2026-10-13T18:00:00.003+00:00','2026-10-13T18:00:00.003+00:00','2026-10-13T18:00:00.005+00:00',207,NULL,NULL,NULL);
INSERT INTO "posting_chunks" VALUES('80403e9c42e67fe67d2af48c02149d6d00c1a0cbdb89087dd9eeac05cbbe010b','demo','accounts-receivable/invoice','E110','sales','80403e9c42e67fe67d2af48c02149d6d00c1a0cbdb89087dd9eeac05cbbe010b',X'5B7B22616D6F756E74223A22312E3030227D5D','ff25afa27ecdaf4b2b1201a527bd31c79bcf0121f2c3bfc65356369ff4cb7a59',1,'uncertain','run-1','2026-10-13T18:00:00.007+00:00','2026-10-13T18:00:00.009+00:00','2026-10-13T18:00:00.009+00:00',NULL,NULL,'the connection was cut',NULL,NULL);
INSERT INTO "posting_chunks" VALUES('523dbbbfc2766d445373f4b577fad295c7052da389849a2f7bc2e1d74002152f','demo','accounts-receivable/invoice','E110','sales','523dbbbfc2766d445373f4b577fad295c7052da389849a2f7bc2e1d74002152f',X'5B7B22616D6F756E74223A22312E3030227D5D','ff25afa27ecdaf4b2b1201a527bd31c79bcf0121f2c3bfc65356369ff4cb7a59',1,'sending','run-1','2026-10-13T18:00:00.012+00:00','2026-10-13T18:00:00.014+00:00','2026-10-13T18:00:00.014+00:00',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "posting_chunks" VALUES('a8971f65ceea7cf53cfe26bd6995e5c58cccb1ecbc794f5cf2f688d3ce25eb43','demo','accounts-receivable/invoice','E110','sales','a8971f65ceea7cf53cfe26bd6995e5c58cccb1ecbc794f5cf2f688d3ce25eb43',X'5B7B22616D6F756E74223A22312E3030227D2C7B22616D6F756E74223A22312E3030227D5D','610b65e58d49d0aa7a71629f3dd8ffd8da1d22ffd531a13816e2da995301fbe4',2,'superseded','run-1','2026-10-13T18:00:00.016+00:00',NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "posting_chunks" VALUES('2c136f5740d0f3b5d4d30b7745c504df55df8e1e977193a2c80251658dd72622','demo','accounts-receivable/invoice','E110','sales','2c136f5740d0f3b5d4d30b7745c504df55df8e1e977193a2c80251658dd72622',X'5B7B22616D6F756E74223A22312E3030227D5D','ff25afa27ecdaf4b2b1201a527bd31c79bcf0121f2c3bfc65356369ff4cb7a59',1,'ready','run-1','2026-10-13T18:00:00.018+00:00',NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "posting_chunks" VALUES('c4850ed19ab2574ed70828dad30f642508b5b8431c7fff2665802766a0673983','demo','accounts-receivable/invoice','E110','sales','c4850ed19ab2574ed70828dad30f642508b5b8431c7fff2665802766a0673983',X'5B7B22616D6F756E74223A22312E3030227D2C7B22616D6F756E74223A22312E3030227D5D','610b65e58d49d0aa7a71629f3dd8ffd8da1d22ffd531a13816e2da995301fbe4',2,'answered','run-1','2026-10-13T18:00:00.020+00:00','2026-10-13T18:00:00.022+00:00','2026-10-13T18:00:00.022+00:00','2026-10-13T18:00:00.026+00:00',400,'refused in one piece, and halved',NULL,NULL);
INSERT INTO "posting_chunks" VALUES('95e55d25b4f2d82abe5c32cd0d2995a3703bec1f408ac0a6016eebfa4de81f10','demo','accounts-receivable/invoice','E110','sales','95e55d25b4f2d82abe5c32cd0d2995a3703bec1f408ac0a6016eebfa4de81f10',X'5B7B22616D6F756E74223A22312E3030227D5D','ff25afa27ecdaf4b2b1201a527bd31c79bcf0121f2c3bfc65356369ff4cb7a59',1,'ready','run-1','2026-10-13T18:00:00.027+00:00',NULL,NULL,NULL,NULL,NULL,NULL,'c4850ed19ab2574ed70828dad30f642508b5b8431c7fff2665802766a0673983');
INSERT INTO "posting_chunks" VALUES('3a96df96504be56cfa0326ddeb6da1713c43976e89ef60cec3072b4ef2ca86d7','demo','accounts-receivable/invoice','E110','sales','3a96df96504be56cfa0326ddeb6da1713c43976e89ef60cec3072b4ef2ca86d7',X'5B7B22616D6F756E74223A22312E3030227D5D','ff25afa27ecdaf4b2b1201a527bd31c79bcf0121f2c3bfc65356369ff4cb7a59',1,'ready','run-1','2026-10-13T18:00:00.028+00:00',NULL,NULL,NULL,NULL,NULL,NULL,'c4850ed19ab2574ed70828dad30f642508b5b8431c7fff2665802766a0673983');
INSERT INTO "posting_chunks" VALUES('3b476cbb988e257cceeb11b6488877ab1cc7b9f44e6e0ff1e957bf516db6bd07','demo','accounts-receivable/invoice','E110','sales','3b476cbb988e257cceeb11b6488877ab1cc7b9f44e6e0ff1e957bf516db6bd07',X'5B7B226B6579223A223330222C22616D6F756E74223A22322E3030227D5D','c514d3e38f650023c6f5c023c28b661aff83dc2626c48c00d8b0b9cb9cbf7a3f',1,'answered','run-1','2026-10-13T18:00:00.029+00:00','2026-10-13T18:00:00.031+00:00','2026-10-13T18:00:00.031+00:00','2026-10-13T18:00:00.033+00:00',200,NULL,'PATCH',NULL);
INSERT INTO "posting_chunks" VALUES('40a34d653aaed72ce13cfbfe605adc6e78348f7ac06b9c9bfe797270c504b32f','demo','accounts-receivable/invoice','E110','sales','40a34d653aaed72ce13cfbfe605adc6e78348f7ac06b9c9bfe797270c504b32f',X'5B7B226B6579223A223331222C22616D6F756E74223A22332E3030227D5D','793fee371626bb97580350bf16bbc6055aaf06a12f9cd812bc1572ba93b8cf2a',1,'answered','run-1','2026-10-13T18:00:00.034+00:00','2026-10-13T18:00:00.036+00:00','2026-10-13T18:00:00.036+00:00','2026-10-13T18:00:00.038+00:00',400,NULL,'PATCH',NULL);
CREATE TABLE posting_items (
	company TEXT NOT NULL, 
	object TEXT NOT NULL, 
	entity TEXT NOT NULL, 
	source_id TEXT NOT NULL, 
	feed TEXT NOT NULL, 
	day TEXT NOT NULL, 
	amount TEXT NOT NULL, 
	payload BLOB NOT NULL, 
	payload_sha256 TEXT NOT NULL, 
	state TEXT NOT NULL, 
	attempt INTEGER NOT NULL, 
	chunk_id TEXT, 
	position INTEGER, 
	intacct_key TEXT, 
	intacct_id TEXT, 
	error_id TEXT, 
	reason TEXT, 
	what_to_do TEXT, 
	field TEXT, 
	support_id TEXT, 
	read_back_at TEXT, 
	run_id TEXT NOT NULL, 
	updated_at TEXT NOT NULL, 
	PRIMARY KEY (company, object, entity, source_id), 
	CONSTRAINT state_is_known CHECK (state IN ('planned', 'sending', 'posted', 'rejected', 'uncertain')), 
	CONSTRAINT posted_has_a_key CHECK ((state = 'posted') = (intacct_key IS NOT NULL)), 
	CONSTRAINT refused_has_a_reason CHECK (state <> 'rejected' OR reason IS NOT NULL), 
	CONSTRAINT what_was_sent_has_a_place CHECK (state = 'planned' OR (chunk_id IS NOT NULL AND position IS NOT NULL)), 
	CONSTRAINT a_key_is_posted_once UNIQUE (company, object, intacct_key), 
	FOREIGN KEY(chunk_id) REFERENCES posting_chunks (chunk_id)
);
INSERT INTO "posting_items" VALUES('demo','accounts-receivable/invoice','E110','A','sales','2026-10-13','1.00',X'7B22616D6F756E74223A22312E3030227D','ecd4beb07d489cdc999ba7c40e5d86d2e433e3c5248ab08cf368a85c93fb8040','posted',1,'941b6c28327216b5684b97c7fa490a8e96b4f0d6c305d9b997a98273f131ca4e',0,'30','SI-30',NULL,NULL,NULL,NULL,NULL,'2026-10-13T18:00:00.006+00:00','run-1','2026-10-13T18:00:00.005+00:00');
INSERT INTO "posting_items" VALUES('demo','accounts-receivable/invoice','E110','B','sales','2026-10-13','1.00',X'7B22616D6F756E74223A22312E3030227D','ecd4beb07d489cdc999ba7c40e5d86d2e433e3c5248ab08cf368a85c93fb8040','rejected',1,'941b6c28327216b5684b97c7fa490a8e96b4f0d6c305d9b997a98273f131ca4e',1,NULL,NULL,'bad-reference','The customer is unknown.','Correct the customer.','customer.id','S-1',NULL,'run-1','2026-10-13T18:00:00.005+00:00');
INSERT INTO "posting_items" VALUES('demo','accounts-receivable/invoice','E110','C','sales','2026-10-13','1.00',X'7B22616D6F756E74223A22312E3030227D','ecd4beb07d489cdc999ba7c40e5d86d2e433e3c5248ab08cf368a85c93fb8040','posted',1,'941b6c28327216b5684b97c7fa490a8e96b4f0d6c305d9b997a98273f131ca4e',2,'31','SI-31',NULL,NULL,NULL,NULL,NULL,NULL,'run-1','2026-10-13T18:00:00.005+00:00');
INSERT INTO "posting_items" VALUES('demo','accounts-receivable/invoice','E110','D','sales','2026-10-13','1.00',X'7B22616D6F756E74223A22312E3030227D','ecd4beb07d489cdc999ba7c40e5d86d2e433e3c5248ab08cf368a85c93fb8040','uncertain',1,'80403e9c42e67fe67d2af48c02149d6d00c1a0cbdb89087dd9eeac05cbbe010b',0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'run-1','2026-10-13T18:00:00.011+00:00');
INSERT INTO "posting_items" VALUES('demo','accounts-receivable/invoice','E110','E','sales','2026-10-13','1.00',X'7B22616D6F756E74223A22312E3030227D','ecd4beb07d489cdc999ba7c40e5d86d2e433e3c5248ab08cf368a85c93fb8040','sending',1,'523dbbbfc2766d445373f4b577fad295c7052da389849a2f7bc2e1d74002152f',0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'run-1','2026-10-13T18:00:00.015+00:00');
INSERT INTO "posting_items" VALUES('demo','accounts-receivable/invoice','E110','F','sales','2026-10-13','1.00',X'7B22616D6F756E74223A22312E3030227D','ecd4beb07d489cdc999ba7c40e5d86d2e433e3c5248ab08cf368a85c93fb8040','planned',1,'2c136f5740d0f3b5d4d30b7745c504df55df8e1e977193a2c80251658dd72622',0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'run-1','2026-10-13T18:00:00.019+00:00');
INSERT INTO "posting_items" VALUES('demo','accounts-receivable/invoice','E110','G','sales','2026-10-13','1.00',X'7B22616D6F756E74223A22312E3030227D','ecd4beb07d489cdc999ba7c40e5d86d2e433e3c5248ab08cf368a85c93fb8040','planned',1,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'run-1','2026-10-13T18:00:00.017+00:00');
INSERT INTO "posting_items" VALUES('demo','accounts-receivable/invoice','E110','H','sales','2026-10-13','1.00',X'7B22616D6F756E74223A22312E3030227D','ecd4beb07d489cdc999ba7c40e5d86d2e433e3c5248ab08cf368a85c93fb8040','planned',2,'95e55d25b4f2d82abe5c32cd0d2995a3703bec1f408ac0a6016eebfa4de81f10',0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'run-1','2026-10-13T18:00:00.025+00:00');
INSERT INTO "posting_items" VALUES('demo','accounts-receivable/invoice','E110','I','sales','2026-10-13','1.00',X'7B22616D6F756E74223A22312E3030227D','ecd4beb07d489cdc999ba7c40e5d86d2e433e3c5248ab08cf368a85c93fb8040','planned',2,'3a96df96504be56cfa0326ddeb6da1713c43976e89ef60cec3072b4ef2ca86d7',0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'run-1','2026-10-13T18:00:00.025+00:00');
CREATE TABLE posting_no_duplicates (
	company TEXT NOT NULL, 
	feed TEXT NOT NULL, 
	source_id TEXT NOT NULL, 
	said_by TEXT NOT NULL, 
	said_at TEXT NOT NULL, 
	PRIMARY KEY (company, feed, source_id)
);
CREATE TABLE tokens (
	name TEXT NOT NULL, 
	value BLOB NOT NULL, 
	stored_at FLOAT NOT NULL, 
	PRIMARY KEY (name)
);
CREATE INDEX api_usage_by_month ON api_usage (company, month);
CREATE INDEX posting_items_by_chunk ON posting_items (chunk_id, position);
CREATE TRIGGER posting_items_ways BEFORE UPDATE OF state ON posting_items
            WHEN NOT (NEW.state = OLD.state OR (OLD.state = 'planned' AND NEW.state = 'sending') OR (OLD.state = 'sending' AND NEW.state = 'posted') OR (OLD.state = 'sending' AND NEW.state = 'rejected') OR (OLD.state = 'sending' AND NEW.state = 'uncertain') OR (OLD.state = 'uncertain' AND NEW.state = 'planned') OR (OLD.state = 'uncertain' AND NEW.state = 'posted') OR (OLD.state = 'uncertain' AND NEW.state = 'rejected') OR (OLD.state = 'rejected' AND NEW.state = 'planned'))
            BEGIN SELECT RAISE(ABORT, 'the ledger knows no such way'); END;
CREATE TRIGGER posting_items_stay BEFORE DELETE ON posting_items
            BEGIN SELECT RAISE(ABORT, 'the ledger forgets nothing'); END;
CREATE INDEX posting_changes_by_chunk ON posting_changes (chunk_id, position);
CREATE TRIGGER posting_changes_ways BEFORE UPDATE OF state ON posting_changes
            WHEN NOT (NEW.state = OLD.state OR (OLD.state = 'planned' AND NEW.state = 'sending') OR (OLD.state = 'sending' AND NEW.state = 'posted') OR (OLD.state = 'sending' AND NEW.state = 'rejected') OR (OLD.state = 'sending' AND NEW.state = 'uncertain') OR (OLD.state = 'uncertain' AND NEW.state = 'planned') OR (OLD.state = 'uncertain' AND NEW.state = 'posted') OR (OLD.state = 'uncertain' AND NEW.state = 'rejected') OR (OLD.state = 'rejected' AND NEW.state = 'planned') OR (OLD.state = 'posted' AND NEW.state = 'planned'))
            BEGIN SELECT RAISE(ABORT, 'the ledger knows no such way'); END;
CREATE TRIGGER posting_changes_stay BEFORE DELETE ON posting_changes
            BEGIN SELECT RAISE(ABORT, 'the ledger forgets nothing'); END;
COMMIT;
