<?php
/*
 * Plays the story of order and payment: php examples/order-and-payment/php/run.php
 *
 * It builds the sidecar (or takes the one that SIDECAR names), starts it with an
 * embedded broker, the shop as a web server beside it, and a PostgreSQL in a folder
 * that is gone afterwards (or takes the one that DATABASE names, as for PDO). Four
 * orders are made: one is paid and committed; one is paid, and the shop never says
 * so; one is cancelled; and the sidecar is killed while one waits for its payment.
 * Each paid order makes one parcel, the cancelled one none. It fails where that is
 * not so.
 */

declare(strict_types=1);

require __DIR__ . '/shop.php';

const ROOT = __DIR__ . '/../../..';

/** A program that runs beside us, and writes into a file. */
final class Program
{
    /** @var resource */
    private $process;

    public function __construct(array $command, private string $log, array $environment = [])
    {
        $files = [['file', '/dev/null', 'r'], ['file', $log, 'w'], ['file', $log, 'a']];
        $this->process = proc_open($command, $files, $pipes, sys_get_temp_dir(), $environment + getenv());
        if ($this->process === false) {
            throw new RuntimeException("cannot start $command[0]");
        }
    }

    public function said(): string
    {
        return file_get_contents($this->log);
    }

    public function runs(): bool
    {
        return proc_get_status($this->process)['running'];
    }

    /** Returns when it has ended. */
    public function end(int $signal): void
    {
        if ($this->runs()) {
            proc_terminate($this->process, $signal);
        }
        proc_close($this->process);
    }
}

/** Polls until is() tells something, and returns that. */
function until(string $what, callable $is, ?Program $program = null): mixed
{
    for ($deadline = microtime(true) + 60; !($found = $is()); usleep(50_000)) {
        if (microtime(true) > $deadline || $program !== null && !$program->runs()) {
            throw new RuntimeException("it did not come to this: $what\n" . $program?->said());
        }
    }
    return $found;
}

function freePort(): int
{
    $socket = stream_socket_server('tcp://127.0.0.1:0');
    return (int) substr(strrchr(stream_socket_get_name($socket, false), ':'), 1);
}

function answers(int $port): bool
{
    $socket = @fsockopen('127.0.0.1', $port, timeout: 1);
    return $socket !== false && fclose($socket);
}

function must(array $command): void
{
    $log = tempnam(sys_get_temp_dir(), 'said');
    $process = proc_open($command, [['file', '/dev/null', 'r'], ['file', $log, 'w'], ['file', $log, 'a']], $pipes, ROOT);
    $code = proc_close($process);
    $said = file_get_contents($log);
    unlink($log);
    if ($code !== 0) {
        throw new RuntimeException("$command[0] ended with $code: $said");
    }
}

/** Starts a PostgreSQL, which refuses to run as root. */
function postgres(string $directory, array &$running): string
{
    $initdb = trim((string) shell_exec('command -v initdb || ls /usr/lib/postgresql/*/bin/initdb 2>/dev/null | tail -1'));
    if ($initdb === '') {
        throw new RuntimeException('PostgreSQL is not here: apt-get install postgresql, or name one in DATABASE');
    }
    mkdir("$directory/db");
    $as = [];
    if (posix_geteuid() === 0) {
        chmod($directory, 0711);
        chown("$directory/db", 'postgres');
        $as = ['setpriv', '--reuid=postgres', '--regid=postgres', '--clear-groups'];
    }
    must([...$as, $initdb, '-D', "$directory/db", '-U', 'shop', '--auth=trust', '--no-sync']);
    $port = freePort();
    $server = new Program([...$as, dirname(realpath($initdb)) . '/postgres', '-D', "$directory/db", '-p', "$port", '-c', 'unix_socket_directories='], "$directory/postgres.log");
    $running[] = [$server, SIGINT];
    $dsn = "pgsql:host=127.0.0.1;port=$port;dbname=postgres;user=shop";
    until('PostgreSQL answers', function () use ($dsn) {
        try {
            return new PDO($dsn);
        } catch (PDOException) {
            return null;
        }
    }, $server);
    return $dsn;
}

function sidecar(string $directory): string
{
    $program = getenv('SIDECAR');
    if ($program === false) {
        fwrite(STDERR, "building the sidecar\n");
        $program = "$directory/sidecar";
        must(['go', 'build', '-o', $program, './cmd/sidecar']);
    }
    return $program;
}

/** Starts a sidecar on the spool of the directory; tells its address for applications. */
function start(string $program, string $directory, string $shopUrl, array &$running): string
{
    $command = [$program, 'run'];
    foreach ([
        "spool.dir=$directory/spool", 'broker.type=embedded', 'listen.data=127.0.0.1:0', 'listen.admin=127.0.0.1:0', 'listen.health=127.0.0.1:0',
        "subscriptions=[{name: parcels, topic: orders, handler: $shopUrl/on-order}]",
    ] as $setting) {
        array_push($command, '--set', $setting);
    }
    $sidecar = new Program($command, "$directory/sidecar.log");
    $running['sidecar'] = [$sidecar, SIGTERM];
    return until('the sidecar is ready', function () use ($sidecar) {
        foreach (explode("\n", $sidecar->said()) as $line) {
            $entry = json_decode($line, true);
            if (($entry['msg'] ?? '') === 'ready') {
                return 'http://' . $entry['data'][0];
            }
        }
        return null;
    }, $sidecar);
}

function tell(string $what, callable $is): void
{
    until($what, $is);
    echo $what, "\n";
}

function play(string $directory, array &$running): void
{
    $database = getenv('DATABASE') ?: postgres($directory, $running);
    $port = freePort();
    $url = "http://127.0.0.1:$port";
    $web = new Program([PHP_BINARY, '-S', "127.0.0.1:$port", __DIR__ . '/shop.php'], "$directory/shop.log", ['DATABASE' => $database, 'PHP_CLI_SERVER_WORKERS' => '4']);
    $running[] = [$web, SIGTERM];
    until('the shop answers', fn () => answers($port), $web);
    $program = sidecar($directory);
    $shop = new Shop($database, start($program, $directory, $url, $running), $url);
    $shop->createTables();
    foreach (['order-1', 'order-2', 'order-3', 'order-4'] as $order) {
        $shop->create($order, 'a book');
    }
    $shop->pay('order-1');
    $shop->commit('order-1');
    tell('order-1 was paid and committed: its parcel is packed', fn () => in_array('order-1', $shop->parcels()));
    $shop->pay('order-2');
    tell('order-2 was paid, and the shop did not say so; the sidecar asked: its parcel is packed', fn () => in_array('order-2', $shop->parcels()));
    $shop->cancel('order-3');
    $running['sidecar'][0]->end(SIGKILL);
    $shop->pay('order-4');
    $shop->sidecar = start($program, $directory, $url, $running);
    tell('order-4 was paid while the sidecar was dead; it asked when it was back: its parcel is packed', fn () => in_array('order-4', $shop->parcels()));
    tell('order-3 was cancelled: rolled back', fn () => $shop->state('order-3') === 'rolled_back');
    if ($shop->parcels() !== ['order-1', 'order-2', 'order-4']) {
        throw new RuntimeException('the parcels are ' . implode(', ', $shop->parcels()));
    }
    echo "three parcels, one for each order that was paid\n";
}

$directory = sys_get_temp_dir() . '/order-and-payment-' . bin2hex(random_bytes(8));
mkdir($directory, 0700);
$running = [];
$code = 0;
try {
    play($directory, $running);
} catch (Throwable $failed) {
    fwrite(STDERR, $failed->getMessage() . "\n");
    $code = 1;
} finally {
    foreach (array_reverse($running) as [$one, $signal]) {
        $one->end($signal);
    }
    shell_exec('rm -rf ' . escapeshellarg($directory));
}
exit($code);
