<?php
/*
 * A shop that tells of an order once it is paid, and of no other.
 *
 * It keeps its orders in PostgreSQL and speaks to the sidecar by HTTP, with PHP's
 * own extensions (pdo_pgsql, curl). Three places matter:
 *
 *   create()   the message is prepared first, then the order is written
 *   onCheck()  the sidecar asks what became of an order, and the database answers
 *   onOrder()  whoever consumes the message does its work once
 *
 * It is also the script of the web server (php -S) that the sidecar calls.
 */

declare(strict_types=1);

final class Shop
{
    private const SCHEMA = '
        CREATE TABLE IF NOT EXISTS orders  (id TEXT PRIMARY KEY, item TEXT NOT NULL, state TEXT NOT NULL);
        CREATE TABLE IF NOT EXISTS parcels (message_id TEXT PRIMARY KEY, order_id TEXT NOT NULL);';

    private PDO $db;

    public function __construct(string $database, public string $sidecar = '', private string $ownUrl = '')
    {
        $this->db = new PDO($database, options: [PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION]);
    }

    public function createTables(): void
    {
        $this->db->exec(self::SCHEMA);
    }

    /**
     * The half message is durable before the order is: an order without its message
     * cannot be. A message without its order is never sent: onCheck().
     */
    public function create(string $order, string $item): void
    {
        $this->call('POST', '/v1/transactions', [
            'id' => $order,
            'messages' => [['topic' => 'orders', 'keys' => [$order], 'body' => json_encode(['order' => $order, 'item' => $item])]],
            'check' => ['url' => $this->ownUrl . '/tx', 'after' => '1s', 'interval' => '1s', 'max_attempts' => 3600],
        ]);
        $this->db->beginTransaction(); // the local transaction
        $this->run("INSERT INTO orders VALUES (?, ?, 'unpaid') ON CONFLICT DO NOTHING", $order, $item);
        $this->db->commit();
    }

    /**
     * What a payment provider's callback does. It may die right after its COMMIT, and
     * never tell the sidecar: the check-back repairs that.
     */
    public function pay(string $order): void
    {
        $this->settle($order, 'paid');
    }

    public function cancel(string $order): void
    {
        $this->settle($order, 'cancelled');
    }

    private function settle(string $order, string $state): void
    {
        $this->run("UPDATE orders SET state = ? WHERE id = ? AND state = 'unpaid'", $state, $order);
    }

    /** Optional: it saves the wait for the check-back. May be sent again. */
    public function commit(string $order): void
    {
        $this->call('POST', "/v1/transactions/$order/commit");
    }

    /**
     * The database knows. An order that is not there is unknown, not rolled back:
     * create() may be about to write it.
     */
    public function onCheck(string $order): string
    {
        return match ($this->run('SELECT state FROM orders WHERE id = ?', $order)->fetchColumn()) {
            'paid' => 'COMMIT',
            'cancelled' => 'ROLLBACK',
            default => 'UNKNOWN',
        };
    }

    /** The parcel and the mark that it was packed are one transaction. */
    public function onOrder(string $messageId, string $body): void
    {
        $order = json_decode($body, true, flags: JSON_THROW_ON_ERROR)['order'];
        $this->run('INSERT INTO parcels VALUES (?, ?) ON CONFLICT DO NOTHING', $messageId, $order);
    }

    /** @return list<string> */
    public function parcels(): array
    {
        return $this->run('SELECT order_id FROM parcels ORDER BY order_id')->fetchAll(PDO::FETCH_COLUMN);
    }

    /** What the sidecar says of the order's transaction. */
    public function state(string $order): string
    {
        return $this->call('GET', "/v1/transactions/$order")['state'];
    }

    private function run(string $sql, string ...$values): PDOStatement
    {
        $statement = $this->db->prepare($sql);
        $statement->execute($values);
        return $statement;
    }

    private function call(string $method, string $path, ?array $body = null): array
    {
        $request = curl_init($this->sidecar . $path);
        curl_setopt_array($request, [CURLOPT_CUSTOMREQUEST => $method, CURLOPT_RETURNTRANSFER => true, CURLOPT_TIMEOUT => 30]);
        if ($body !== null) {
            curl_setopt($request, CURLOPT_POSTFIELDS, json_encode($body, JSON_THROW_ON_ERROR));
            curl_setopt($request, CURLOPT_HTTPHEADER, ['Content-Type: application/json']);
        }
        $answer = curl_exec($request);
        if ($answer === false) {
            throw new RuntimeException("$path: " . curl_error($request));
        }
        if (curl_getinfo($request, CURLINFO_RESPONSE_CODE) >= 300) {
            throw new RuntimeException("$path: $answer");
        }
        return json_decode($answer, true, flags: JSON_THROW_ON_ERROR);
    }
}

if (PHP_SAPI === 'cli-server') {
    http_response_code(500); // until all is done: the sidecar asks, or delivers, again
    $shop = new Shop(getenv('DATABASE'));
    $answer = '';
    switch ($_SERVER['REQUEST_URI']) {
        case '/tx':
            $answer = $shop->onCheck($_SERVER['HTTP_MQ_TRANSACTION_ID']);
            break;
        case '/on-order':
            $shop->onOrder($_SERVER['HTTP_MQ_MESSAGE_ID'], file_get_contents('php://input'));
            break;
        default:
            http_response_code(404);
            return;
    }
    http_response_code(200);
    echo $answer;
}
