import {
  checkPrimeSync,
  constants,
  createCipheriv,
  createHash,
  createHmac,
  diffieHellman,
  generateKeyPairSync,
  getCipherInfo,
  getDiffieHellman,
  hkdfSync,
  type KeyObject,
  pbkdf2Sync,
  publicEncrypt,
  scryptSync,
  sign,
  verify,
} from 'node:crypto';
import type { ShellCommands } from '../../support/shell-commands.ts';
import type { DebianGuest } from './guest.ts';
import { packageGuest } from './packages.ts';
import type { Report } from './report.ts';

/**
 * OpenSSL has most algorithms several times, for processors with and without certain instructions; these values of
 * OPENSSL_ia32cap (OPENSSL_ia32cap(3)) take some away, so that each variant has its turn.
 */
const VARIANTS: readonly (readonly [what: string, ia32cap: string])[] = [
  ['every instruction', ''],
  ['no AES-NI, PCLMULQDQ, SHA', '~0x200000200000000:~0x20000000'],
  ['no SSSE3, BMI, ADX either', '~0x200020200000000:~0x20080108'],
];

const DIGESTS = [
  ...[
    'md5',
    'sha1',
    'sha224',
    'sha256',
    'sha384',
    'sha512',
    'sha512-224',
    'sha512-256',
    'sha3-224',
    'sha3-256',
  ],
  ...['sha3-384', 'sha3-512', 'blake2b512', 'blake2s256', 'ripemd160', 'sm3'],
];

const CIPHERS = [
  ...[
    'aes-128-ecb',
    'aes-128-cbc',
    'aes-192-cbc',
    'aes-256-cbc',
    'aes-128-ctr',
    'aes-256-ctr',
    'aes-256-ofb',
  ],
  ...[
    'aes-128-cfb',
    'aes-256-cfb8',
    'camellia-256-cbc',
    'aria-256-ctr',
    'chacha20',
    'des-ede3-cbc',
    'sm4-cbc',
  ],
];

/** Keys of which the guest makes its own and signs with them. */
const MADE: readonly (readonly [name: string, options: string, digest: string | null])[] = [
  ['RSA 2048', '-algorithm RSA -pkeyopt rsa_keygen_bits:2048', 'sha256'],
  ['EC P-256', '-algorithm EC -pkeyopt ec_paramgen_curve:P-256', 'sha256'],
  ['EC P-384', '-algorithm EC -pkeyopt ec_paramgen_curve:P-384', 'sha384'],
  ['EC P-521', '-algorithm EC -pkeyopt ec_paramgen_curve:P-521', 'sha512'],
  ['EC secp256k1', '-algorithm EC -pkeyopt ec_paramgen_curve:secp256k1', 'sha256'],
  ['Ed25519', '-algorithm ED25519', null],
  ['Ed448', '-algorithm ED448', null],
];

const CANDIDATES = [
  2n ** 127n - 1n,
  2n ** 521n - 1n,
  2n ** 607n - 1n,
  2n ** 509n - 1n,
  3317044064679887385961981n,
  (2n ** 127n - 1n) * (2n ** 89n - 1n),
];

const SECRET = 'a password';
const SALT = 'some salt';

/** Bytes without a pattern, the same in every run. */
function pattern(bytes: number): Buffer {
  const blocks = Array.from({ length: Math.ceil(bytes / 32) }, (_, index) => hash('sha256', String(index)));
  return Buffer.concat(blocks).subarray(0, bytes);
}

function hash(name: string, data: string | Buffer): Buffer {
  return createHash(name).update(data).digest();
}

const DATA = pattern(100_003);
const HEX = (bytes: number): string => pattern(bytes).toString('hex');

/** A shell script and what it prints when nothing is wrong. */
interface Known {
  readonly script: string;
  readonly expected: string;
}

function digests(): Known {
  const lines = DIGESTS.map((name) => `${name} ${hash(name, DATA).toString('hex')}`);
  const xof = createHash('shake256', { outputLength: 32 }).update(DATA).digest('hex');
  const hmac = createHmac('sha256', SECRET).update(DATA).digest('hex');
  return {
    script: `for d in ${DIGESTS.join(' ')}; do echo $d $(openssl dgst -r -$d data | cut -d' ' -f1); done
echo shake256 $(openssl dgst -r -shake256 -xoflen 32 data | cut -d' ' -f1)
echo hmac $(openssl dgst -r -sha256 -hmac '${SECRET}' data | cut -d' ' -f1)`,
    expected: `${lines.join('\n')}\nshake256 ${xof}\nhmac ${hmac}\n`,
  };
}

function ciphers(): Known {
  const known = CIPHERS.map((name) => {
    const info = getCipherInfo(name);
    if (info === undefined) throw new Error(`this Node has no ${name}`);
    const key = pattern(info.keyLength);
    const iv = info.ivLength === undefined ? null : pattern(64).subarray(64 - info.ivLength);
    const cipher = createCipheriv(name, key, iv);
    const sealed = Buffer.concat([cipher.update(DATA), cipher.final()]);
    const keys = `-K ${key.toString('hex')}${iv ? ` -iv ${iv.toString('hex')}` : ''}`;
    return {
      script: `openssl enc -${name} ${keys} -in data -out /tmp/sealed
echo ${name} $(openssl dgst -r -sha256 /tmp/sealed | cut -d' ' -f1)
openssl enc -d -${name} ${keys} -in /tmp/sealed | cmp - data && echo and back`,
      expected: `${name} ${hash('sha256', sealed).toString('hex')}\nand back\n`,
    };
  });
  return together(known);
}

function together(known: readonly Known[]): Known {
  return {
    script: known.map(({ script }) => script).join('\n'),
    expected: known.map(({ expected }) => expected).join(''),
  };
}

/** Key derivation, and GMAC, which is GCM's authentication. */
function derivations(): Known {
  const colons = (bytes: ArrayBuffer | Buffer): string =>
    (
      Buffer.from(bytes as ArrayBuffer)
        .toString('hex')
        .toUpperCase()
        .match(/../g) ?? []
    ).join(':');
  const gcm = createCipheriv('aes-256-gcm', pattern(32), pattern(12));
  gcm.setAAD(DATA);
  gcm.final();
  const options = `-kdfopt pass:'${SECRET}' -kdfopt salt:'${SALT}'`;
  return {
    script: `openssl kdf -keylen 48 -kdfopt digest:SHA2-256 -kdfopt key:'${SECRET}' -kdfopt salt:'${SALT}' -kdfopt info:here HKDF | grep .
openssl kdf -keylen 40 -kdfopt digest:SHA2-512 ${options} -kdfopt iter:2000 PBKDF2 | grep .
openssl kdf -keylen 40 ${options} -kdfopt n:1024 -kdfopt r:8 -kdfopt p:2 SCRYPT | grep .
openssl mac -cipher AES-256-GCM -macopt hexkey:${HEX(32)} -macopt hexiv:${HEX(12)} -in data GMAC`,
    expected: `${[
      colons(hkdfSync('sha256', SECRET, SALT, 'here', 48)),
      colons(pbkdf2Sync(SECRET, SALT, 2000, 40, 'sha512')),
      colons(scryptSync(SECRET, SALT, 40, { N: 1024, r: 8, p: 2 })),
      gcm.getAuthTag().toString('hex').toUpperCase(),
    ].join('\n')}\n`,
  };
}

type Files = Record<string, Uint8Array>;

interface KeyPair {
  readonly publicKey: KeyObject;
  readonly privateKey: KeyObject;
}

function pem(files: Files, name: string, key: KeyObject): void {
  const text =
    key.type === 'private'
      ? key.export({ type: 'pkcs8', format: 'pem' })
      : key.export({ type: 'spki', format: 'pem' });
  files[name] = Buffer.from(text);
}

/** Two pairs of keys agree on a secret. */
function agreement(files: Files, name: string, one: KeyPair, other: KeyPair): Known {
  pem(files, `${name}-one.pem`, one.privateKey);
  pem(files, `${name}-other.pem`, other.publicKey);
  const secret = diffieHellman({ privateKey: one.privateKey, publicKey: other.publicKey });
  return {
    script: `echo ${name} $(openssl pkeyutl -derive -inkey ${name}-one.pem -peerkey ${name}-other.pem | openssl dgst -r -sha256 | cut -d' ' -f1)`,
    expected: `${name} ${hash('sha256', secret).toString('hex')}\n`,
  };
}

/** With keys of Node's: signatures that no chance enters, decryption, agreed secrets. */
function keys(files: Files): Known {
  const rsa = generateKeyPairSync('rsa', { modulusLength: 3072 });
  const ed = generateKeyPairSync('ed25519');
  pem(files, 'rsa.pem', rsa.privateKey);
  pem(files, 'ed.pem', ed.privateKey);
  files.sealed = publicEncrypt(
    { key: rsa.publicKey, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha1' },
    Buffer.from('for your eyes only'),
  );
  const base64 = (signature: Buffer): string => signature.toString('base64');
  const signatures: Known = {
    script: `openssl dgst -sha256 -sign rsa.pem data | openssl base64 -A; echo
openssl pkeyutl -sign -rawin -inkey ed.pem -in data | openssl base64 -A; echo
openssl pkeyutl -decrypt -inkey rsa.pem -pkeyopt rsa_padding_mode:oaep -in sealed; echo`,
    expected: `${base64(sign('sha256', DATA, rsa.privateKey))}\n${base64(sign(null, DATA, ed.privateKey))}\nfor your eyes only\n`,
  };
  const pair = (make: () => KeyPair): [KeyPair, KeyPair] => [make(), make()];
  return together([
    signatures,
    agreement(files, 'x25519', ...pair(() => generateKeyPairSync('x25519'))),
    agreement(files, 'x448', ...pair(() => generateKeyPairSync('x448'))),
    agreement(files, 'p256', ...pair(() => generateKeyPairSync('ec', { namedCurve: 'P-256' }))),
    agreement(files, 'p521', ...pair(() => generateKeyPairSync('ec', { namedCurve: 'P-521' }))),
    agreement(
      files,
      'dh2048',
      ...pair(() => generateKeyPairSync('dh', { prime: getDiffieHellman('modp14').getPrime() })),
    ),
  ]);
}

function primes(): Known {
  return {
    script: CANDIDATES.map((n) => `openssl prime ${n} | sed 's/.*) //'`).join('\n'),
    expected: CANDIDATES.map((n) => (checkPrimeSync(n) ? 'is prime\n' : 'is not prime\n')).join(''),
  };
}

/** Makes a key, signs with it, verifies; prints the public key and the signature. */
function makeAndSign(options: string, digest: string | null): string {
  const [signing, verifying] =
    digest === null
      ? [
          'pkeyutl -sign -rawin -inkey /tmp/key -in data',
          'pkeyutl -verify -rawin -inkey /tmp/key -in data -sigfile /tmp/signature',
        ]
      : [
          `dgst -${digest} -sign /tmp/key data`,
          `dgst -${digest} -prverify /tmp/key -signature /tmp/signature data`,
        ];
  return `openssl genpkey ${options} -out /tmp/key 2>/dev/null && openssl pkey -in /tmp/key -check -noout &&
openssl ${signing} >/tmp/signature && openssl ${verifying} &&
openssl pkey -in /tmp/key -pubout && openssl base64 -A -in /tmp/signature`;
}

async function checkMade(shell: ShellCommands, report: Report): Promise<void> {
  for (const [index, [name, , digest]] of MADE.entries()) {
    const { output, status } = await shell.try(`sh /checks/make-${index}`);
    const [, key, signature = ''] = /(-----BEGIN[\s\S]*-----END PUBLIC KEY-----)\n(\S+)/.exec(output) ?? [];
    const right =
      status === 0 && key !== undefined && verify(digest, DATA, key, Buffer.from(signature, 'base64'));
    report.judge(`openssl ${name}: makes a key, signs, verifies; so does Node`, right ? undefined : output);
  }
}

/** Debian's OpenSSL in the guest against Node's here. */
export function opensslGuest(): DebianGuest {
  const known: Record<string, Known> = {};
  return {
    async prepare() {
      const files: Files = { data: DATA };
      Object.assign(known, {
        digests: digests(),
        ciphers: ciphers(),
        derivations: derivations(),
        keys: keys(files),
        primes: primes(),
      });
      for (const [name, { script }] of Object.entries(known))
        files[name] = Buffer.from(`cd /checks\n${script}\n`);
      for (const [index, [, options, digest]] of MADE.entries())
        files[`make-${index}`] = Buffer.from(`cd /checks\n${makeAndSign(options, digest)}\n`);
      const { kernel, initrd, packages } = await packageGuest(
        { name: 'openssl', packages: ['openssl'] },
        files,
      );
      return {
        boots: [{ kernel, initrd, cmdline: 'console=ttyS0 quiet', memoryMiB: 512 }],
        about: `Debian's openssl ${packages.openssl}, judged by Node's ${process.versions.openssl}`,
      };
    },

    async check(shell, report) {
      report.judge('openssl version', undefined, { note: (await shell.run('openssl version')).trim() });
      const list = await shell.run(
        'for k in digest cipher public-key kdf mac; do openssl list -$k-algorithms; done',
      );
      const algorithms = list.split('\n').length;
      report.judge('openssl list', algorithms > 100 ? undefined : list, {
        answer: list,
        note: `${algorithms} lines`,
      });
      for (const [what, ia32cap] of VARIANTS) {
        for (const [name, { expected }] of Object.entries(known)) {
          const output = await shell.try(`OPENSSL_ia32cap='${ia32cap}' sh /checks/${name} 2>&1`);
          report.equal(`openssl ${name}, ${what}`, output.output, expected);
        }
      }
      await checkMade(shell, report);
    },
  };
}
