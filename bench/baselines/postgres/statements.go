package postgres

// free is a seat that can be had where a hold that has run out counts as free.
const free = `(status = 0 OR status = 1 AND expires <= now())`

// Statements by name, prepared on each connection when they are first used.
const (
	createEvent = `INSERT INTO seats (event, seat) SELECT $1, s FROM generate_series(0, $2 - 1) s`

	// The classic: lock what is wanted, look whether it is all there, write. Two
	// round trips, four statements, the decision in the client.
	lockSeats = `SELECT seat FROM seats WHERE event = $1 AND seat = ANY ($2) AND ` + free + ` ORDER BY seat FOR UPDATE`
	takeSeats = `UPDATE seats SET status = 1, hold = $3, expires = clock_timestamp() + $4 WHERE event = $1 AND seat = ANY ($2)`

	// One statement that takes all seats or none. Locks are taken in the order of
	// seats, so that two statements cannot wait for each other; a row that somebody
	// else changed meanwhile is looked at again before it counts.
	holdImplicit = `WITH locked AS MATERIALIZED (
		SELECT seat FROM seats WHERE event = $1 AND seat = ANY ($2) AND ` + free + ` ORDER BY seat FOR NO KEY UPDATE)
	UPDATE seats SET status = 1, hold = $3, expires = clock_timestamp() + $4 FROM locked
	WHERE event = $1 AND seats.seat = locked.seat AND (SELECT count(*) FROM locked) = cardinality($2::int[])`

	// The same where only the sweeper frees a seat.
	holdSwept = `WITH locked AS MATERIALIZED (
		SELECT seat FROM seats WHERE event = $1 AND seat = ANY ($2) AND status = 0 ORDER BY seat FOR NO KEY UPDATE)
	UPDATE seats SET status = 1, hold = $3, expires = clock_timestamp() + $4 FROM locked
	WHERE event = $1 AND seats.seat = locked.seat AND (SELECT count(*) FROM locked) = cardinality($2::int[])`

	// The sweeper wants to find what is due without reading all seats. The index has
	// a column that every hold changes, which is the end of HOT updates.
	sweepIndex = `CREATE INDEX seats_due ON seats (expires) WHERE status = 1`
	// What somebody is confirming this moment is left to the next sweep.
	sweep = `UPDATE seats SET status = 0, hold = 0, expires = 'infinity' WHERE (event, seat) IN (
		SELECT event, seat FROM seats WHERE status = 1 AND expires <= now() ORDER BY event, seat FOR NO KEY UPDATE SKIP LOCKED)`

	holdCall      = `SELECT hold($1, $2, $3, $4)`
	stateTaken    = "US001" // of the error when a call was overtaken
	holdBatchCall = `SELECT hold_batch($1, $2, $3, $4, $5)`
	bestCall      = `SELECT best($1, $2, $3, $4)`

	// The seats of a hold share its time, so these change all of them or none. The
	// client names the seats, which saves an index on hold. They lock in the order of
	// seats too: somebody who has just lost may wait for one of them with another
	// locked.
	mine = `WITH mine AS MATERIALIZED (
		SELECT seat FROM seats WHERE event = $1 AND seat = ANY ($2) AND hold = $3 AND status = 1 ORDER BY seat FOR NO KEY UPDATE)
	UPDATE seats SET `
	whereMine        = ` FROM mine WHERE event = $1 AND seats.seat = mine.seat`
	confirmSwept     = mine + `status = 2, expires = 'infinity'` + whereMine
	confirmSeats     = confirmSwept + ` AND expires > now()`
	releaseSeats     = mine + `status = 0, hold = 0, expires = 'infinity'` + whereMine
	confirmBatchCall = `SELECT confirm_batch($1, $2, $3)`

	// A character per seat. Aggregating is cheaper than sending 50,000 rows.
	readMap = `SELECT string_agg(state, '') FROM (
		SELECT chr(48 + CASE WHEN status = 1 AND expires <= now() THEN 0 ELSE status END) AS state
		FROM seats WHERE event = $1 ORDER BY seat) states`

	auditIndex = `CREATE INDEX seats_hold ON seats (hold)`
	findHold   = `SELECT seat, status FROM seats WHERE event = $1 AND hold = $2 AND status <> 0 ORDER BY seat`
)
