# What Perl computes, said in lines: "== group", then one line for each result. The same lines have to come from
# every processor, so nothing here depends on time, addresses, the order of hashes or the processor's own features.
use strict;
use warnings;
no warnings qw(portable recursion);
use Digest::MD5 qw(md5_hex);
use Digest::SHA qw(sha1_hex sha256_hex sha512_hex);
use Encode qw(encode decode);
use List::Util qw(sum max min reduce shuffle);
use Math::BigFloat;
use Math::BigInt;
use MIME::Base64;
use POSIX ();
use Storable qw(freeze thaw);
use Time::Local;

$| = 1;

# A generator of our own (Marsaglia's xorshift64): 64 bits a step.
my $state = 0x9e3779b97f4a7c15;
sub bits64 {
  $state ^= ($state << 13) & 0xffffffffffffffff;
  $state ^= $state >> 7;
  $state ^= ($state << 17) & 0xffffffffffffffff;
  return $state;
}
sub below { return bits64() % $_[0] }

sub group { print "== $_[0]\n" }
# A double's bits; one name for all NaNs, whose payload the language does not promise.
sub double { my ($d) = @_; return $d != $d ? 'nan' : unpack('H16', pack('d>', $d)) }
# Many results in few lines: every 64 of them as a digest, beside the last as it is.
sub digest_lines {
  my ($name, @results) = @_;
  while (my @some = splice @results, 0, 64) {
    print "$name ", md5_hex(join "\n", @some), " $some[-1]\n";
  }
}

# Doubles of every size and sign, the edges among them.
sub doubles {
  my ($count) = @_;
  my @edges = map { unpack 'd>', pack 'H16', $_ } qw(
    0000000000000000 8000000000000000 0000000000000001 000fffffffffffff 0010000000000000 3ff0000000000000
    bff0000000000000 3fefffffffffffff 4340000000000000 c340000000000001 43dfffffffffffff 43e0000000000000
    7fefffffffffffff 7ff0000000000000 fff0000000000000 7ff8000000000000 3fd5555555555555 400921fb54442d18);
  return (@edges, map { unpack 'd', pack 'Q', bits64() } 1 .. $count);
}

group('sums of doubles');
{
  my @d = doubles(600);
  my @results;
  for my $i (0 .. $#d) {
    my ($x, $y) = ($d[$i], $d[($i * 7 + 3) % @d]);
    push @results, double($x + $y), double($x - $y), double($x * $y), $y == 0 ? 'zero' : double($x / $y);
    push @results, $x < 0 ? 'negative' : double(sqrt $x), $x == $x ? double(int $x) : 'nan';
    push @results, join ' ', map { $_ ? 1 : 0 } $x < $y, $x == $y, $x > $y, $x <= $y;
    push @results, $x <=> $y // 'unordered';
  }
  digest_lines('arithmetic', map { $_ // 'undef' } @results);
}

group('functions of doubles');
{
  my @results;
  for (1 .. 1500) {
    my $x = (below(2_000_001) - 1_000_000) / 4096;
    push @results, double(sin $x), double(cos $x), double(atan2 $x, $x * $x - 3), double(exp($x / 16));
    push @results, double(log(abs($x) + 0.001)), double((abs($x) + 0.5)**1.7), double(POSIX::fmod($x, 0.7));
    push @results, double(POSIX::floor($x)), double(POSIX::ceil($x)), double(POSIX::tan($x)), double(POSIX::tanh($x));
    my ($m, $e) = POSIX::frexp($x);
    push @results, double($m), $e, double(POSIX::ldexp($m, $e + 5)), double(POSIX::cbrt($x)), double(POSIX::lgamma($x));
  }
  digest_lines('functions', @results);
  my $sum = 0;
  $sum += sqrt($_) * sin($_) for 1 .. 200_000;
  printf "long sum %.17g %s\n", $sum, double($sum);
}

group('numbers as text');
{
  my @results;
  for my $d (doubles(500)) {
    push @results, map { sprintf $_, $d } '%.17g', '%.15g', '%e', '%.0f', '%a', '%.3g', '%+.20e';
    my $text = sprintf '%.17g', $d;
    push @results, double($text + 0);
  }
  digest_lines('printed', @results);
  digest_lines('read', map { my $t = below(1 << 53) . '.' . below(1 << 40) . 'e' . (below(600) - 300); "$t " . double($t) } 1 .. 500);
  digest_lines('integers', map { my $n = bits64(); sprintf '%d %u %x %o %b %#X %020d', $n, $n, $n, $n, $n, $n, $n } 1 .. 300);
}

group('integers');
{
  my @results;
  for (1 .. 1500) {
    my ($x, $y) = (bits64(), bits64() >> below(63));
    $y ||= 1;
    push @results, $x + $y, $x - $y, $x * $y, $x % $y, int($x / $y), $x & $y, $x | $y, $x ^ $y, ~$x;
    push @results, $x << below(64), $x >> below(64);
    use integer;
    push @results, $x + $y, $x - $y, $x * $y, $x / $y, $x % $y, -$x, $x <=> $y;
  }
  digest_lines('words', @results);
  my ($primes, @sieve) = (0);
  for my $n (2 .. 60_000) {
    next if $sieve[$n];
    $primes++;
    for (my $m = $n * $n; $m <= 60_000; $m += $n) { $sieve[$m] = 1 }
  }
  print "primes $primes\n";
}

group('long numbers');
{
  my $factorial = Math::BigInt->new(300)->bfac;
  print "factorial $factorial\n";
  print 'power ', Math::BigInt->new(3)->bpow(1000), "\n";
  print 'modular ', Math::BigInt->new('123456789012345678901234567890')->bmodpow('98765432109876543210', '1000000000000000000000007'), "\n";
  print 'inverse ', Math::BigInt->new('987654321987654321')->bmodinv('1000000000000000003'), "\n";
  my ($quotient, $rest) = $factorial->copy->bdiv(Math::BigInt->new(7)->bpow(150)->binc);
  print "division $quotient $rest\n";
  print 'root ', Math::BigInt->new(2)->bmul(Math::BigInt->new(10)->bpow(400))->bsqrt, "\n";
  print 'pi ', Math::BigFloat->bpi(150), "\n";
  print 'e ', Math::BigFloat->new(1)->bexp(120), "\n";
  print 'gcd ', Math::BigInt::bgcd($factorial, Math::BigInt->new(2)->bpow(400)->bmul(3)), "\n";
}

group('pack');
{
  my @results;
  for (1 .. 400) {
    my $n = bits64();
    for my $format (qw(C c S s L l Q q n N v V S> s< L> l< Q> q< w U)) {
      my $value = $format eq 'U' ? $n % 0xd800 : $n;
      my $short = { C => 8, c => 7, S => 16, s => 15, n => 16, v => 16 }->{substr $format, 0, 1};
      $value %= 1 << $short if defined $short;
      my $packed = pack $format, $value;
      utf8::encode($packed) if utf8::is_utf8($packed);
      push @results, unpack('H*', $packed);
      push @results, join ',', unpack $format, pack $format, $value;
    }
    push @results, unpack('H*', pack 'f d f> d<', ($n >> 11) / 3, $n / 7, -$n, $n * 1e-30);
    push @results, unpack('%32b*', pack 'Q', $n), unpack('%16n*', pack 'Q>2', $n, ~$n);
  }
  digest_lines('formats', @results);
  print 'template ', unpack('H*', pack 'n/a* w/a A5 Z8 x2 X a3 @40 (C2)*', 'hello', 'x' x 200, 'ab', 'cd', 'efg', 1 .. 8), "\n";
  print 'uuencode ', pack('u', join '', map { chr below(256) } 1 .. 45);
}

group('sorting');
{
  my @numbers = map { below(1_000_000) - 500_000 } 1 .. 8000;
  my @words = map { my $n = $_; join '', map { chr 97 + below(26) } 1 .. 3 + $n % 6 } 1 .. 6000;
  print 'numbers ', sha256_hex(join ',', sort { $a <=> $b } @numbers), "\n";
  print 'down ', sha256_hex(join ',', reverse sort { $a <=> $b } @numbers), "\n";
  print 'words ', sha256_hex(join ',', sort @words), "\n";
  print 'by two keys ', sha256_hex(join ',', sort { length $a <=> length $b or $b cmp $a } @words), "\n";
  print 'stable ', sha256_hex(join ',', map { "$_->[0]:$_->[1]" } sort { $a->[0] <=> $b->[0] } map { [$numbers[$_] % 50, $_] } 0 .. 3999), "\n";
  print 'doubles ', sha256_hex(join ',', map { double($_) } sort { $a <=> $b } grep { $_ == $_ } doubles(4000)), "\n";
  my %count;
  $count{$_}++ for @words;
  print 'hash ', scalar(keys %count), ' ', sha256_hex(join ',', map { "$_=$count{$_}" } sort keys %count), "\n";
  print 'list ', sum(@numbers), ' ', max(@numbers), ' ', min(@numbers), ' ', (reduce { ($a * 31 + $b) % 1_000_003 } @numbers), "\n";
}

group('patterns');
{
  my $text = join ' ', map { my $n = below(100_000); $n % 3 ? "w$n" : sprintf('%04d-%02d-%02d', 1900 + $n % 200, 1 + $n % 12, 1 + $n % 28) } 1 .. 4000;
  my @dates = $text =~ /\b(\d{4})-(\d\d)-(\d\d)\b/g;
  print 'dates ', @dates / 3, ' ', md5_hex("@dates"), "\n";
  print 'lookaround ', scalar(() = $text =~ /(?<=w)\d+(?= w)/g), "\n";
  print 'alternation ', md5_hex(join ',', $text =~ /(?:w1|w2|33-)(\d*?)(?:7|9)/g), "\n";
  (my $swapped = $text) =~ s/(\d+)-(\d+)-(\d+)/$3.$2.$1/g;
  print 'replaced ', md5_hex($swapped), "\n";
  (my $doubled = $text) =~ s/w(\d+)/'w' . ($1 * 2)/ge;
  print 'computed ', md5_hex($doubled), "\n";
  my $nested = '((a)(b(c(d)e))f)' x 20;
  my $balanced = qr/(\((?:[^()]++|(?1))*\))/;
  print 'recursion ', scalar(() = $nested =~ /$balanced/g), "\n";
  print 'backtracking ', join(',', map { ('a' x $_) =~ /^(a?){12}a{12}$/ ? 1 : 0 } 8 .. 26), "\n";
  print 'back reference ', join(',', 'abcabc xyxy aa bcb' =~ /\b(\w+)\1\b/g), "\n";
  print 'named ', join(',', map { "$_=$+{$_}" } sort keys %+), "\n" if '2026-11-22' =~ /(?<y>\d+)-(?<m>\d+)-(?<d>\d+)/;
  print 'split ', md5_hex(join '|', split /[\s,w-]+/, $text), "\n";
  (my $translated = $text) =~ tr/a-z0-9/n-za-m5-90-4/;
  print 'translated ', md5_hex($translated), ' ', ($text =~ tr/0-9//), "\n";
  my $words = "\x{e4}\x{3b1}\x{416}\x{4e2d} stra\x{df}e \x{130}stanbul " x 50;
  my @found = $words =~ /(\p{Lu}\w+|\p{Han}+)/g;
  print 'unicode ', scalar(@found), ' ', md5_hex(encode('UTF-8', join ',', map { lc, uc, ucfirst, CORE::fc($_) } @found)), "\n";
}

group('strings');
{
  my $bytes = join '', map { chr below(256) } 1 .. 20_000;
  print 'digests ', join(' ', md5_hex($bytes), sha1_hex($bytes), sha256_hex($bytes), sha512_hex($bytes)), "\n";
  print 'base64 ', md5_hex(encode_base64($bytes)), ' ', (decode_base64(encode_base64($bytes)) eq $bytes ? 'back' : 'WRONG'), "\n";
  for my $name (qw(UTF-8 UTF-16BE UTF-16LE UTF-32LE iso-8859-1 cp1252 koi8-r)) {
    my $octets = encode($name, "a\x{e9}\x{444}\x{20ac} z" x 100, sub { sprintf '<%x>', shift });
    print "$name ", md5_hex($octets), ' ', md5_hex(encode('UTF-8', decode($name, $octets))), "\n";
  }
  print 'xor ', md5_hex($bytes ^ reverse $bytes), ' or ', md5_hex($bytes | reverse $bytes), ' not ', md5_hex(~$bytes), "\n";
  my $vector = '';
  vec($vector, below(4096), 1) = 1 for 1 .. 1000;
  print 'bits ', unpack('%32b*', $vector), ' ', md5_hex($vector), "\n";
  my ($crc, @table) = (0xffffffff);
  for my $n (0 .. 255) {
    my $c = $n;
    $c = $c & 1 ? 0xedb88320 ^ ($c >> 1) : $c >> 1 for 1 .. 8;
    push @table, $c;
  }
  $crc = $table[($crc ^ $_) & 0xff] ^ ($crc >> 8) for unpack 'C*', $bytes;
  printf "crc %08x\n", $crc ^ 0xffffffff;
  my $deep = { list => [map { { n => $_, s => 'x' x ($_ % 9), d => $_ / 8 } } 1 .. 300] };
  my $copy = thaw(freeze($deep));
  print 'copied ', md5_hex(join ',', map { "$_->{n}$_->{s}$_->{d}" } @{ $copy->{list} }), "\n";
  my $joined = '';
  substr($joined, below(length($joined) + 1), 0, chr(65 + below(26))) for 1 .. 5000;
  print 'inserted ', md5_hex($joined), ' ', rindex($joined, 'AB'), ' ', index($joined, 'ZQ'), "\n";
  print 'repeated ', md5_hex('abc' x 50_000), ' ', md5_hex(scalar reverse 'abc' x 50_000), "\n";
}

group('calendar');
{
  my @results;
  for (1 .. 500) {
    my $time = below(4_000_000_000);
    my @fields = gmtime $time;
    push @results, POSIX::strftime('%Y-%m-%d %H:%M:%S %j %u %V', @fields);
    push @results, timegm(@fields[0 .. 4], $fields[5] + 1900) - $time;
  }
  digest_lines('dates', @results);
}

group('programs');
{
  my %memo;
  my $ways;
  $ways = sub {
    my ($n, $k) = @_;
    return 1 if $n == 0;
    return 0 if $n < 0 || $k == 0;
    return $memo{"$n,$k"} //= $ways->($n - $k, $k) + $ways->($n, $k - 1);
  };
  print 'partitions ', $ways->(120, 120), "\n";
  my $ackermann;
  $ackermann = sub {
    my ($m, $n) = @_;
    return $n + 1 if $m == 0;
    return $ackermann->($m - 1, $n == 0 ? 1 : $ackermann->($m, $n - 1));
  };
  print 'ackermann ', $ackermann->(2, 60), "\n";
  my $place;
  $place = sub {
    my ($row, $columns, $left, $right) = @_;
    return 1 if $row == 7;
    my $found = 0;
    for my $column (0 .. 6) {
      my ($c, $l, $r) = (1 << $column, 1 << ($row + $column), 1 << ($row - $column + 7));
      next if $columns & $c or $left & $l or $right & $r;
      $found += $place->($row + 1, $columns | $c, $left | $l, $right | $r);
    }
    return $found;
  };
  print 'queens ', $place->(0, 0, 0, 0), "\n";
  my $text = eval q{ my @f = (0, 1); push @f, $f[-1] + $f[-2] while @f < 90; "@f[80 .. 89]" };
  print "evaluated $text\n";
  my @matrix = map { my $i = $_; [map { 1 / ($i + $_ + 1) } 0 .. 9] } 0 .. 9;
  my $determinant = 1;
  for my $i (0 .. 9) {
    $determinant *= $matrix[$i][$i];
    for my $j ($i + 1 .. 9) {
      my $f = $matrix[$j][$i] / $matrix[$i][$i];
      $matrix[$j][$_] -= $f * $matrix[$i][$_] for $i .. 9;
    }
  }
  print 'determinant ', double($determinant), "\n";
}
print "== end\n";
