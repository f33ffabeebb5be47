package stores

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"

	_ "github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/remora-mq/remora/test/server"
)

// recipe is what docs/dedupe.md says to do: once, and for each delivery.
func recipe(t *testing.T) (schema string, transaction []string) {
	t.Helper()
	page, err := os.ReadFile("../../docs/dedupe.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "```sql\n")
	block, _, _ := strings.Cut(rest, "```")
	block = regexp.MustCompile(`--.*`).ReplaceAllString(block, "")
	for statement := range strings.SplitSeq(block, ";") {
		if statement = strings.TrimSpace(statement); statement != "" {
			transaction = append(transaction, statement)
		}
	}
	if len(transaction) != 5 || transaction[1] != "BEGIN" || transaction[4] != "COMMIT" {
		t.Fatalf("the recipe reads otherwise: %q", transaction)
	}
	return transaction[0], transaction[2:4]
}

// deliver does what the recipe says, and returns the answer of the handler. dies
// ends it before the commit.
func deliver(ctx context.Context, db *sql.DB, statements []string, key string, dies bool) int {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return 500
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := tx.ExecContext(ctx, strings.ReplaceAll(statements[0], ":key", "'"+key+"'")); err != nil {
		if strings.Contains(strings.ToLower(err.Error()), "duplicate") {
			return 200
		}
		return 500
	}
	if _, err := tx.ExecContext(ctx, statements[1]); err != nil || dies || tx.Commit() != nil {
		return 500
	}
	return 200
}

func TestUniqueKeyInTheOwnTransaction(t *testing.T) {
	for name, open := range map[string]func(t *testing.T) (driver, dsn string){
		"PostgreSQL": func(t *testing.T) (string, string) { t.Helper(); return "pgx", postgresDSN(server.Postgres(t)) },
		"MariaDB":    func(t *testing.T) (string, string) { t.Helper(); return "mysql", mariaDSN(server.MariaDB(t)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			driver, dsn := open(t)
			db, err := sql.Open(driver, dsn)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			schema, transaction := recipe(t)
			for _, statement := range []string{
				schema, "CREATE TABLE accounts (id int PRIMARY KEY, balance int)", "INSERT INTO accounts VALUES (7, 100)",
			} {
				if _, err := db.ExecContext(t.Context(), statement); err != nil {
					t.Fatal(err)
				}
			}
			if answer := deliver(t.Context(), db, transaction, "a", true); answer != 500 {
				t.Errorf("one that dies answers %d", answer)
			}
			for _, key := range []string{"a", "b"} {
				var all sync.WaitGroup
				for range 8 {
					all.Go(func() {
						for deliver(t.Context(), db, transaction, key, false) != 200 { // it comes again
							if t.Context().Err() != nil {
								return
							}
						}
					})
				}
				all.Wait()
			}
			var balance int
			if err := db.QueryRowContext(t.Context(), "SELECT balance FROM accounts WHERE id = 7").Scan(&balance); err != nil || balance != 80 {
				t.Errorf("two messages of 10, many times each: %s, want 80 (%v)", fmt.Sprint(balance), err)
			}
		})
	}
}
