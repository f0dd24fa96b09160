// Copyright (c) bftap contributors
// SPDX-License-Identifier: Apache-2.0 OR MIT

package org.hyperledger.besu.ethereum.p2p.rlpx.handshake.ecies;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.SeekableByteChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.OpenOption;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.PosixFilePermissions;
import java.time.Instant;
import java.util.Set;
import java.util.concurrent.atomic.AtomicBoolean;

/**
 * Writes RLPx session secrets to the file that the environment variable BFTAP_KEYLOG names, for
 * bftap (docs/exporting-secrets.md). Needs nothing but the JDK, version 11 or later.
 */
final class RlpxKeyLog {

  /**
   * The log ends at this many bytes, about 170,000 sessions: any peer can open connections, and a
   * full disk would stop the node.
   */
  private static final long LIMIT = 64L << 20;

  private static final Set<OpenOption> OPTIONS =
      Set.of(
          StandardOpenOption.CREATE,
          StandardOpenOption.APPEND,
          StandardOpenOption.WRITE,
          LinkOption.NOFOLLOW_LINKS);

  /** Only the first problem is printed, for the same reason. */
  private static final AtomicBoolean COMPLAINED = new AtomicBoolean();

  private RlpxKeyLog() {}

  /**
   * Appends one line about a session whose handshake is complete.
   *
   * <p>Nothing is kept of the arrays. The node never fails because of the log: a problem is told
   * once on standard error, and the line is left out.
   *
   * @param session Keccak-256 of the auth packet as it stands on the wire, with its size prefix
   * @param mac null writes a line with the AES key alone: its reader can then neither check nor
   *     forge frames; the nonces are ignored
   * @param initiator whether this node dialled
   */
  static void log(
      final byte[] session,
      final byte[] aes,
      final byte[] mac,
      final byte[] initiatorNonce,
      final byte[] responderNonce,
      final boolean initiator) {
    final String path = System.getenv("BFTAP_KEYLOG");
    if (path == null || path.isEmpty()) {
      return;
    }
    try {
      append(Paths.get(path), line(session, aes, mac, initiatorNonce, responderNonce, initiator));
    } catch (final IOException | RuntimeException e) {
      if (COMPLAINED.compareAndSet(false, true)) {
        System.err.println("BFTAP_KEYLOG: session secrets are not logged: " + e);
      }
    }
  }

  private static String line(
      final byte[] session,
      final byte[] aes,
      final byte[] mac,
      final byte[] initiatorNonce,
      final byte[] responderNonce,
      final boolean initiator) {
    final StringBuilder line = new StringBuilder(400);
    if (mac == null) {
      line.append("RLPX-AES ").append(hex(aes)).append(" session=").append(hex(session));
    } else {
      line.append("RLPX ").append(hex(session)).append(' ').append(hex(aes));
      line.append(' ').append(hex(mac)).append(' ').append(hex(initiatorNonce));
      line.append(' ').append(hex(responderNonce));
    }
    final Instant now = Instant.now();
    line.append(" role=").append(initiator ? "initiator" : "recipient");
    line.append(" time=").append(now.getEpochSecond() * 1_000_000_000L + now.getNano());
    return line.append('\n').toString();
  }

  /**
   * Opens the file anew for every line, so that it can be moved away at any time, and writes with
   * one call, so that lines of processes that share the file do not mix.
   */
  private static synchronized void append(final Path path, final String line) throws IOException {
    // Opening a pipe that nobody reads would hang the handshake, and a link may lead anywhere.
    if (Files.exists(path, LinkOption.NOFOLLOW_LINKS)) {
      if (!Files.isRegularFile(path, LinkOption.NOFOLLOW_LINKS)) {
        throw new IOException("not a regular file");
      }
      if (Files.size(path) >= LIMIT) {
        throw new IOException("the file has reached its limit; move it away");
      }
    }
    try (SeekableByteChannel file =
        Files.newByteChannel(
            path,
            OPTIONS,
            PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rw-------")))) {
      file.write(ByteBuffer.wrap(line.getBytes(StandardCharsets.US_ASCII)));
    }
  }

  private static String hex(final byte[] field) {
    if (field.length != 32) {
      throw new IllegalArgumentException("a field has " + field.length + " bytes, not 32");
    }
    final StringBuilder text = new StringBuilder(64);
    for (final byte b : field) {
      text.append(Character.forDigit(b >> 4 & 15, 16)).append(Character.forDigit(b & 15, 16));
    }
    return text.toString();
  }
}
