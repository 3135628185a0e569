-- A store as schema 2 had it: two requests with their answers, and a run that goes on.
CREATE TABLE shard (
    id INTEGER PRIMARY KEY,
    epoch INTEGER NOT NULL,
    owner TEXT NOT NULL,
    engine_time INTEGER NOT NULL,
    -- The batch of the last checkpoint: a restart replays the journal after it.
    checkpoint INTEGER NOT NULL
  , log TEXT, position INTEGER, published INTEGER);
INSERT INTO shard (id, epoch, owner, engine_time, checkpoint, log, position, published) VALUES (0, 1, 'someone', 1795579670253, 7, NULL, NULL, NULL);
CREATE TABLE journal (seq INTEGER PRIMARY KEY, record BLOB NOT NULL);
INSERT INTO journal (seq, record) VALUES (1, '[1795579670230,["first",{"type":"started","at":1795579670230,"hub":"rounds","version":1,"request":{"steps":[1,2]},"hash":"84100da1619060477a90993c9d1f7800","data":{"steps":[1,2],"done":[],"why":""},"deadline":1795579671230,"answerBy":1795579671730},{"type":"entered","at":1795579670230,"state":"Preparing"},{"type":"entered","at":1795579670230,"state":"Working","by":"Next","due":1795579671230,"calls":[{"callee":"step","first":0,"inputs":[{"n":1},{"n":2}],"due":1795579670330}]}]]');
INSERT INTO journal (seq, record) VALUES (2, '[1795579670239,["first",{"type":"settled","at":1795579670239,"call":0,"outcome":"ok","by":"Stepped","patch":{"done":[1]}}]]');
INSERT INTO journal (seq, record) VALUES (3, '[1795579670240,["first",{"type":"settled","at":1795579670240,"call":1,"outcome":"ok","by":"Stepped","patch":{"done":[1,2]}},{"type":"entered","at":1795579670240,"state":"Telling","by":"Next"},{"type":"told","at":1795579670240,"call":2,"spoke":"note","input":{"text":"did 2"}},{"type":"entered","at":1795579670240,"state":"Finished","by":"Next"},{"type":"ended","at":1795579670240,"answer":{"kind":"result","value":{"log":["1","2"]}}}],["first/t2",{"type":"started","at":1795579670240,"hub":"tell:note","version":1,"request":{"input":{"text":"did 2"}},"hash":"","data":{"input":{"text":"did 2"}},"deadline":1795579671420,"answerBy":1795579671420},{"type":"entered","at":1795579670240,"state":"Telling","due":1795579671420,"calls":[{"callee":"note","first":0,"inputs":[{"text":"did 2"}],"due":1795579670290}]}]]');
INSERT INTO journal (seq, record) VALUES (4, '[1795579670243,["second",{"type":"started","at":1795579670243,"hub":"rounds","version":1,"request":{"steps":[3]},"hash":"97f886375401ca18f809fde9f9a50729","data":{"steps":[3],"done":[],"why":""},"deadline":1795579671243,"answerBy":1795579671743},{"type":"entered","at":1795579670243,"state":"Preparing"},{"type":"entered","at":1795579670243,"state":"Working","by":"Next","due":1795579671243,"calls":[{"callee":"step","first":0,"inputs":[{"n":3}],"due":1795579670343}]}]]');
INSERT INTO journal (seq, record) VALUES (5, '[1795579670245,["first/t2",{"type":"settled","at":1795579670245,"call":0,"outcome":"ok"},{"type":"entered","at":1795579670245,"state":"Told","by":"Delivered"},{"type":"ended","at":1795579670245,"answer":{"kind":"result","value":{}}}]]');
INSERT INTO journal (seq, record) VALUES (6, '[1795579670252,["second",{"type":"settled","at":1795579670252,"call":0,"outcome":"ok","by":"Stepped","patch":{"done":[3]}},{"type":"entered","at":1795579670252,"state":"Telling","by":"Next"},{"type":"told","at":1795579670252,"call":1,"spoke":"note","input":{"text":"did 1"}},{"type":"entered","at":1795579670252,"state":"Finished","by":"Next"},{"type":"ended","at":1795579670252,"answer":{"kind":"result","value":{"log":["3"]}}}],["second/t1",{"type":"started","at":1795579670252,"hub":"tell:note","version":1,"request":{"input":{"text":"did 1"}},"hash":"","data":{"input":{"text":"did 1"}},"deadline":1795579671432,"answerBy":1795579671432},{"type":"entered","at":1795579670252,"state":"Telling","due":1795579671432,"calls":[{"callee":"note","first":0,"inputs":[{"text":"did 1"}],"due":1795579670302}]}]]');
INSERT INTO journal (seq, record) VALUES (7, '[1795579670253,["live",{"type":"started","at":1795579670253,"hub":"rounds","version":1,"request":{"steps":[1,52]},"hash":"70088cb888426db7b1003245d86159ab","data":{"steps":[1,52],"done":[],"why":""},"deadline":1795579671253,"answerBy":1795579671753},{"type":"entered","at":1795579670253,"state":"Preparing"},{"type":"entered","at":1795579670253,"state":"Working","by":"Next","due":1795579671253,"calls":[{"callee":"step","first":0,"inputs":[{"n":1},{"n":52}],"due":1795579670353}]}]]');
CREATE TABLE run (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    hub TEXT NOT NULL,
    version INTEGER NOT NULL,
    status TEXT NOT NULL,
    state TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    answered_at INTEGER,
    hot INTEGER NOT NULL,
    due INTEGER,
    root INTEGER NOT NULL,
    snapshot TEXT NOT NULL
  );
INSERT INTO run (id, key, hub, version, status, state, created_at, answered_at, hot, due, root, snapshot) VALUES (3, 'second/t1', 'tell:note', 1, 'running', 'Telling', 1795579670252, NULL, 1, 1795579671432, 0, '{"hub":"tell:note","version":1,"request":{"input":{"text":"did 1"}},"hash":"","status":"running","state":"Telling","epoch":1,"data":{"input":{"text":"did 1"}},"nextCall":1,"nextQueued":1,"calls":[{"first":0,"callee":"note","index":0,"inputs":[{"text":"did 1"}],"due":1795579670302,"attempt":1}],"deadline":1795579671432,"late":false,"due":1795579671432,"answerBy":1795579671432,"cancelling":false,"cancelled":false,"signals":[],"commands":[],"createdAt":1795579670252,"updatedAt":1795579670252}');
INSERT INTO run (id, key, hub, version, status, state, created_at, answered_at, hot, due, root, snapshot) VALUES (4, 'live', 'rounds', 1, 'running', 'Working', 1795579670253, NULL, 1, 1795579671253, 1, '{"hub":"rounds","version":1,"request":{"steps":[1,52]},"hash":"70088cb888426db7b1003245d86159ab","status":"running","state":"Working","epoch":2,"data":{"steps":[1,52],"done":[],"why":""},"nextCall":2,"nextQueued":2,"calls":[{"first":0,"callee":"step","index":0,"inputs":[{"n":1}],"due":1795579670353,"attempt":1},{"first":1,"callee":"step","index":1,"inputs":[{"n":52}],"due":1795579670353,"attempt":1}],"deadline":1795579671253,"late":false,"due":1795579671253,"answerBy":1795579671753,"cancelling":false,"cancelled":false,"signals":[],"commands":[],"createdAt":1795579670253,"updatedAt":1795579670253}');
CREATE TABLE request (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    hub TEXT NOT NULL,
    version INTEGER NOT NULL,
    hash TEXT NOT NULL,
    state TEXT NOT NULL,
    status TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    answered_at INTEGER NOT NULL,
    ended_at INTEGER,
    root INTEGER NOT NULL,
    answer TEXT NOT NULL,
    request TEXT NOT NULL,
    -- The batches that hold its events since a part of its history was last written.
    first_seq INTEGER NOT NULL,
    last_seq INTEGER NOT NULL,
    -- The checkpoint before its answer: neither this request nor a later one needs an older batch.
    checkpoint INTEGER NOT NULL
  , reply_to TEXT);
INSERT INTO request (id, key, hub, version, hash, state, status, created_at, answered_at, ended_at, root, answer, request, first_seq, last_seq, checkpoint, reply_to) VALUES (1, 'first', 'rounds', 1, '84100da1619060477a90993c9d1f7800', 'Finished', 'ended', 1795579670230, 1795579670240, 1795579670240, 1, '{"kind":"result","value":{"log":["1","2"]}}', '{"steps":[1,2]}', 1, 3, 0, NULL);
INSERT INTO request (id, key, hub, version, hash, state, status, created_at, answered_at, ended_at, root, answer, request, first_seq, last_seq, checkpoint, reply_to) VALUES (2, 'first/t2', 'tell:note', 1, '', 'Told', 'ended', 1795579670240, 1795579670245, 1795579670245, 0, '{"kind":"result","value":{}}', '{"input":{"text":"did 2"}}', 5, 5, 4, NULL);
INSERT INTO request (id, key, hub, version, hash, state, status, created_at, answered_at, ended_at, root, answer, request, first_seq, last_seq, checkpoint, reply_to) VALUES (3, 'second', 'rounds', 1, '97f886375401ca18f809fde9f9a50729', 'Finished', 'ended', 1795579670243, 1795579670252, 1795579670252, 1, '{"kind":"result","value":{"log":["3"]}}', '{"steps":[3]}', 6, 6, 4, NULL);
CREATE TABLE history (id INTEGER PRIMARY KEY, key TEXT NOT NULL, events TEXT NOT NULL);
INSERT INTO history (id, key, events) VALUES (1, 'first/t2', '[{"type":"started","at":1795579670240,"hub":"tell:note","version":1,"request":{"input":{"text":"did 2"}},"hash":"","data":{"input":{"text":"did 2"}},"deadline":1795579671420,"answerBy":1795579671420},{"type":"entered","at":1795579670240,"state":"Telling","due":1795579671420,"calls":[{"callee":"note","first":0,"inputs":[{"text":"did 2"}],"due":1795579670290}]}]');
INSERT INTO history (id, key, events) VALUES (2, 'second', '[{"type":"started","at":1795579670243,"hub":"rounds","version":1,"request":{"steps":[3]},"hash":"97f886375401ca18f809fde9f9a50729","data":{"steps":[3],"done":[],"why":""},"deadline":1795579671243,"answerBy":1795579671743},{"type":"entered","at":1795579670243,"state":"Preparing"},{"type":"entered","at":1795579670243,"state":"Working","by":"Next","due":1795579671243,"calls":[{"callee":"step","first":0,"inputs":[{"n":3}],"due":1795579670343}]}]');
INSERT INTO history (id, key, events) VALUES (3, 'second/t1', '[{"type":"started","at":1795579670252,"hub":"tell:note","version":1,"request":{"input":{"text":"did 1"}},"hash":"","data":{"input":{"text":"did 1"}},"deadline":1795579671432,"answerBy":1795579671432},{"type":"entered","at":1795579670252,"state":"Telling","due":1795579671432,"calls":[{"callee":"note","first":0,"inputs":[{"text":"did 1"}],"due":1795579670302}]}]');
INSERT INTO history (id, key, events) VALUES (4, 'live', '[{"type":"started","at":1795579670253,"hub":"rounds","version":1,"request":{"steps":[1,52]},"hash":"70088cb888426db7b1003245d86159ab","data":{"steps":[1,52],"done":[],"why":""},"deadline":1795579671253,"answerBy":1795579671753},{"type":"entered","at":1795579670253,"state":"Preparing"},{"type":"entered","at":1795579670253,"state":"Working","by":"Next","due":1795579671253,"calls":[{"callee":"step","first":0,"inputs":[{"n":1},{"n":52}],"due":1795579670353}]}]');
CREATE INDEX run_hot ON run (id) WHERE hot = 1;
CREATE INDEX run_due ON run (due, key) WHERE hot = 0;
CREATE INDEX run_hub ON run (hub, version);
CREATE INDEX run_created ON run (created_at, key);
CREATE INDEX request_created ON request (created_at, key);
CREATE INDEX history_key ON history (key);
PRAGMA user_version = 2;
