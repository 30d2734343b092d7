;;; What farmgate is told, as records of Guix's kind, and the TOML they stand for.
;;;
;;; The records mirror the configuration file: a table is a record, a key is a field, with "-" where the file has "_".
;;; What stands in quotes in the file is a string here.  A field that is not set is not written, so that farmgate's own
;;; defaults hold, and are the ones of its README.  Names of files may also be file-like objects.
;;;
;;; A new key of the configuration needs a field here.  A test compares the two.  The keys process.user and process.group
;;; have none: the Shepherd starts the gate as the user that `user' below names, so that it has nobody to become.

(define-module (farmgate configuration)
  #:use-module (farmgate package)
  #:use-module (gnu services configuration)
  #:use-module (guix gexp)
  #:use-module (ice-9 match)
  #:use-module (srfi srfi-1)
  #:export (farmgate-configuration
            farmgate-configuration?
            farmgate-configuration-package
            farmgate-configuration-user
            farmgate-configuration-group
            farmgate-configuration-supplementary-groups
            farmgate-configuration-own-log
            farmgate-configuration-own-log-level
            farmgate-configuration-sites
            farmgate-configuration-listen
            farmgate-configuration-paths
            farmgate-configuration-admin
            farmgate-configuration-acme
            farmgate-configuration-cache
            farmgate-configuration-timeouts
            farmgate-configuration-access-log
            farmgate-configuration-metrics
            farmgate-configuration-limits
            farmgate-configuration-process

            farmgate-site-configuration
            farmgate-certificate-configuration
            farmgate-listen-configuration
            farmgate-listen-configuration-http
            farmgate-listen-configuration-https
            farmgate-paths-configuration
            farmgate-paths-configuration-state
            farmgate-paths-configuration-cache
            farmgate-paths-configuration-control
            farmgate-paths-configuration-pid
            farmgate-admin-configuration
            farmgate-acme-configuration
            farmgate-acme-fallback-configuration
            farmgate-eab-configuration
            farmgate-cache-configuration
            farmgate-cache-static-configuration
            farmgate-cache-download-configuration
            farmgate-cache-logs-configuration
            farmgate-timeouts-configuration
            farmgate-timeouts-route-configuration
            farmgate-access-log-configuration
            farmgate-access-log-configuration-http
            farmgate-access-log-configuration-https
            farmgate-rotate-configuration
            farmgate-metrics-configuration
            farmgate-limits-configuration
            farmgate-limits-requests-configuration
            farmgate-process-configuration

            listen-address
            farmgate-configuration-keys
            farmgate-configuration-file))


;;;
;;; Types of fields.
;;;

(define (file-name? value)
  (or (and (string? value) (not (string-null? value)))
      (file-like? value)))

(define (list-of-file-names? value)
  (and (list? value) (every file-name? value)))

(define (natural? value)
  (and (exact-integer? value) (not (negative? value))))

;; Those of other scripts, which char-set:digit has, too, are none here.
(define char-set:ascii-digits (string->char-set "0123456789"))

(define (number-with-unit? units)
  "A predicate for strings such as \"10s\": a whole number and one of UNITS."
  (lambda (value)
    (and (string? value)
         (match (string-skip value char-set:ascii-digits)
           ((or #f 0) #f)
           (end (and (member (string-drop value end) units) #t))))))

(define duration? (number-with-unit? '("ms" "s" "m" "h" "d")))

(define size? (number-with-unit? '("B" "KiB" "MiB" "GiB" "TiB")))

(define request-rate? (number-with-unit? '("/s" "/m" "/h")))

(define (list-of-paths? value)
  (and (pair? value) (list-of-strings? value)
       (every (lambda (path) (string-prefix? "/" path)) value)))

(define (listen-address text)
  "Return the family (a symbol), address and port that TEXT, such as \"0.0.0.0:80\" or \"[::]:80\", names, or #f."
  (define (parse family constant host port)
    (let ((port (string->number port 10)))
      (and (exact-integer? port) (<= 0 port 65535)
           (false-if-exception (inet-pton constant host))
           (list family host port))))

  (match (and (string? text) (string-rindex text #\:))
    (#f #f)
    (colon
     (let ((host (string-take text colon))
           (port (string-drop text (1+ colon))))
       (if (and (string-prefix? "[" host) (string-suffix? "]" host))
           (parse 'AF_INET6 AF_INET6 (string-drop-right (string-drop host 1) 1) port)
           (parse 'AF_INET AF_INET host port))))))

(define (list-of-listen-addresses? value)
  (and (list? value) (every listen-address value)))

(define (listen-address-or-off? value)
  (or (equal? value "off") (and (listen-address value) #t)))

(define (word-of . words)
  (lambda (value) (and (member value words) #t)))

(define plain-http? (word-of "serve" "substitutes" "redirect"))
(define log-route? (word-of "ci" "publish"))
(define log-format? (word-of "combined" "json"))
(define key-type? (word-of "p256" "p384" "rsa2048" "rsa4096"))
(define log-level? (word-of "error" "warn" "info" "debug"))

(define-maybe/no-serialization boolean)
(define-maybe/no-serialization string)
(define-maybe/no-serialization list-of-strings)
(define-maybe/no-serialization file-name)
(define-maybe/no-serialization list-of-file-names)
(define-maybe/no-serialization natural)
(define-maybe/no-serialization duration)
(define-maybe/no-serialization size)
(define-maybe/no-serialization list-of-listen-addresses)
(define-maybe/no-serialization listen-address-or-off)
(define-maybe/no-serialization plain-http)
(define-maybe/no-serialization log-route)
(define-maybe/no-serialization log-format)
(define-maybe/no-serialization key-type)
(define-maybe/no-serialization log-level)


;;;
;;; The tables of the configuration file, the inner ones first.
;;;

(define-configuration/no-serialization farmgate-certificate-configuration
  (chain
   file-name
   "PEM file of the certificate and those above it, leaf first.")
  (key
   file-name
   "PEM file of the leaf's private key.  Not a file-like object: everybody can read the store."))

(define (certificate? value)
  (or (member value '("acme" "self-signed"))
      (farmgate-certificate-configuration? value)))

(define-maybe/no-serialization certificate)

(define-configuration/no-serialization farmgate-site-configuration
  (names
   list-of-strings
   "Host names.  The first site also answers on https for hosts that no site names.")
  (publish
   maybe-string
   "@code{http://HOST[:PORT]} of @command{guix publish}.  One of @code{publish} and @code{ci} must be there.")
  (ci
   maybe-string
   "The same of Cuirass.")
  (certificate
   maybe-certificate
   "@code{\"acme\"}, @code{\"self-signed\"} or a @code{farmgate-certificate-configuration}.")
  (plain-http
   maybe-plain-http
   "What is served without TLS: @code{\"serve\"}, @code{\"substitutes\"} or @code{\"redirect\"}.")
  (log-route
   maybe-log-route
   "Who answers @code{/log/}: @code{\"ci\"} or @code{\"publish\"}.")
  (webroot
   maybe-file-name
   "Folder whose @file{.well-known} is served, for another ACME client."))

(define (list-of-sites? value)
  (and (pair? value) (list? value) (every farmgate-site-configuration? value)))

(define-configuration/no-serialization farmgate-listen-configuration
  (http
   maybe-list-of-listen-addresses
   "Addresses and ports for plain HTTP, such as @code{\"0.0.0.0:80\"} and @code{\"[::]:80\"}.")
  (https
   maybe-list-of-listen-addresses
   "The same for HTTPS."))

(define-configuration/no-serialization farmgate-paths-configuration
  (state
   maybe-string
   "Folder of certificates, the ACME account and the admin CA.")
  (cache
   maybe-string
   "Folder of cached answers.")
  (control
   maybe-string
   "The control socket.")
  (pid
   maybe-string
   "File with the number of the running process."))

(define-configuration/no-serialization farmgate-admin-configuration
  (prefix
   maybe-string
   "The path that is guarded.")
  (client-ca
   maybe-file-name
   "PEM file of the CA whose certificates open the gate.")
  (crl
   maybe-list-of-file-names
   "Revocation lists."))

(define-configuration/no-serialization farmgate-eab-configuration
  (kid
   string
   "The CA's name for the account.")
  (hmac-key
   maybe-string
   "The secret, in base64url.  It ends up in the store, where everybody can read it: @code{hmac-key-file} does not.")
  (hmac-key-file
   maybe-string
   "File that has the secret."))

(define-maybe/no-serialization farmgate-eab-configuration)

(define-configuration/no-serialization farmgate-acme-fallback-configuration
  (directory
   string
   "@code{\"letsencrypt\"}, @code{\"letsencrypt-staging\"} or the URL of an ACME directory.")
  (ca-file
   maybe-file-name
   "PEM root to trust when talking to it.")
  (eab
   maybe-farmgate-eab-configuration
   "External account binding."))

(define (acme-fallback? value)
  (or (string? value) (farmgate-acme-fallback-configuration? value)))

(define-maybe/no-serialization acme-fallback)

(define-configuration/no-serialization farmgate-acme-configuration
  (directory
   maybe-string
   "@code{\"letsencrypt\"}, @code{\"letsencrypt-staging\"} or the URL of an ACME directory.")
  (contact
   maybe-list-of-strings
   "Mail addresses for the CA.")
  (ca-file
   maybe-file-name
   "PEM root to trust when talking to the directory.")
  (key-type
   maybe-key-type
   "@code{\"p256\"}, @code{\"p384\"}, @code{\"rsa2048\"} or @code{\"rsa4096\"}.")
  (profile
   maybe-string
   "The kind of certificate, where the directory offers a choice.")
  (eab
   maybe-farmgate-eab-configuration
   "External account binding.")
  (fallback
   maybe-acme-fallback
   "Where to order when the first has failed again and again: as @code{directory}, or a
@code{farmgate-acme-fallback-configuration}."))

(define-configuration/no-serialization farmgate-cache-static-configuration
  (max-size
   maybe-size
   "Bytes on disk, such as @code{\"200MiB\"}; downloads are in it, too.")
  (inactive
   maybe-duration
   "What was not used for longer is removed.")
  (fallback-ttl
   maybe-duration
   "How long a 200 is fresh that does not say.")
  (fallback-ttl-other
   maybe-duration
   "The same for other statuses."))

(define-maybe/no-serialization farmgate-cache-static-configuration)

(define-configuration/no-serialization farmgate-cache-download-configuration
  (fallback-ttl
   maybe-duration
   "How long a 200 is fresh that does not say.")
  (fallback-ttl-other
   maybe-duration
   "The same for other statuses.")
  (expires
   maybe-duration
   "How long a client is told to keep a 200."))

(define-maybe/no-serialization farmgate-cache-download-configuration)

(define-configuration/no-serialization farmgate-cache-logs-configuration
  (max-size
   maybe-size
   "Bytes on disk.")
  (inactive
   maybe-duration
   "What was not used for longer is removed.")
  (fallback-ttl
   maybe-duration
   "How long a 200 is fresh that does not say."))

(define-maybe/no-serialization farmgate-cache-logs-configuration)

(define-configuration/no-serialization farmgate-cache-configuration
  (memory
   maybe-size
   "Hot bodies kept in memory.")
  (static
   maybe-farmgate-cache-static-configuration
   "What is kept of @code{/static}.")
  (download
   maybe-farmgate-cache-download-configuration
   "What differs for @code{/download}.")
  (logs
   maybe-farmgate-cache-logs-configuration
   "What is kept of finished build logs."))

(define-configuration/no-serialization farmgate-timeouts-route-configuration
  (paths
   list-of-paths
   "Pages of Cuirass, such as @code{\"/search\"} and @code{\"/build/*/log\"}, with all that is below them.")
  (read
   duration
   "In place of @code{read} for all."))

(define (list-of-timeouts-routes? value)
  (and (list? value) (every farmgate-timeouts-route-configuration? value)))

(define-maybe/no-serialization list-of-timeouts-routes)

(define-configuration/no-serialization farmgate-timeouts-configuration
  (connect
   maybe-duration
   "For a connection to one address of a backend.")
  (read
   maybe-duration
   "Between two reads from a backend.")
  (send
   maybe-duration
   "Between two writes.")
  (nar
   maybe-duration
   "Read and send for @code{/nar/} and @code{/file/}.")
  (backend-restart
   maybe-duration
   "How long a request waits for a backend that refuses connections.")
  (idle
   maybe-duration
   "How long a client's connection may be silent between requests.")
  (queue
   maybe-duration
   "How long a request waits for its turn at a backend that has enough to do.")
  (routes
   maybe-list-of-timeouts-routes
   "Pages that Cuirass needs longer for: a list of @code{farmgate-timeouts-route-configuration}.  The first that fits
counts."))

(define-configuration/no-serialization farmgate-rotate-configuration
  (size
   maybe-size
   "When a file is put aside.")
  (keep
   maybe-natural
   "How many are kept.")
  (age
   maybe-duration
   "When a file is put aside that is not full."))

(define-maybe/no-serialization farmgate-rotate-configuration)

(define-configuration/no-serialization farmgate-access-log-configuration
  (http
   maybe-string
   "A file, @code{\"-\"} or @code{\"off\"}.")
  (https
   maybe-string
   "The same for requests over TLS.")
  (format
   maybe-log-format
   "@code{\"combined\"} or @code{\"json\"}.")
  (ipv4-mask
   maybe-natural
   "Bits blanked from the right of an IPv4 address.")
  (ipv6-mask
   maybe-natural
   "The same of an IPv6 address.")
  (rotate
   maybe-farmgate-rotate-configuration
   "When a new file is begun."))

(define-configuration/no-serialization farmgate-metrics-configuration
  (listen
   maybe-listen-address-or-off
   "An address on the loopback, or @code{\"off\"}."))

(define-configuration/no-serialization farmgate-limits-requests-configuration
  (paths
   list-of-paths
   "Pages of Cuirass, such as @code{\"/search\"} and @code{\"/build/*/log\"}, with all that is below them.")
  (rate
   request-rate
   "How often one client may ask for them, such as @code{\"30/m\"}.")
  (burst
   maybe-natural
   "How many at once."))

(define (list-of-limits-requests? value)
  (and (list? value) (every farmgate-limits-requests-configuration? value)))

(define-maybe/no-serialization list-of-limits-requests)

(define-configuration/no-serialization farmgate-limits-configuration
  (body
   maybe-size
   "Larger request bodies get 413.")
  (header-timeout
   maybe-duration
   "For a TLS handshake, and for a whole request head.")
  (connections
   maybe-natural
   "Open connections of all clients.")
  (connections-per-client
   maybe-natural
   "Open connections of one IPv4 address or one IPv6 /64.")
  (connection-requests
   maybe-natural
   "Requests on one connection, which is then closed in good order.")
  (connection-age
   maybe-duration
   "When a connection is closed in good order.")
  (bodies
   maybe-size
   "Request bodies in memory, of all clients together.")
  (nar-rate
   maybe-size
   "Bytes per second on one connection, of nars and other large answers.")
  (total-rate
   maybe-size
   "Bytes per second of all answers, shared evenly between clients.")
  (requests
   maybe-list-of-limits-requests
   "Pages that one client may ask for only so often: a list of @code{farmgate-limits-requests-configuration}.")
  (refused-agents
   maybe-list-of-strings
   "Parts of @code{User-Agent}, in any case of letters: 403 for Cuirass's pages.")
  (backend-requests
   maybe-natural
   "What one backend is asked at a time, and has not begun to answer.")
  (backend-nars
   maybe-natural
   "Nars on their way from one backend.")
  (backend-queue
   maybe-natural
   "Requests that wait for their turn at one backend, of each of the two kinds."))

(define-configuration/no-serialization farmgate-process-configuration
  (landlock
   maybe-boolean
   "Whether only the folders that it needs are open to it.")
  (seccomp
   maybe-boolean
   "Whether it has only the system calls that it needs.")
  (core-dumps
   maybe-boolean
   "Whether a crash may write keys to a file, and debuggers may look: for developers."))

(define-maybe/no-serialization farmgate-listen-configuration)
(define-maybe/no-serialization farmgate-paths-configuration)
(define-maybe/no-serialization farmgate-admin-configuration)
(define-maybe/no-serialization farmgate-acme-configuration)
(define-maybe/no-serialization farmgate-cache-configuration)
(define-maybe/no-serialization farmgate-timeouts-configuration)
(define-maybe/no-serialization farmgate-access-log-configuration)
(define-maybe/no-serialization farmgate-metrics-configuration)
(define-maybe/no-serialization farmgate-limits-configuration)
(define-maybe/no-serialization farmgate-process-configuration)

(define-configuration/no-serialization farmgate-configuration
  ;; What Guix has to know; see %FIELDS-OF-GUIX.
  (package
   (file-like farmgate)
   "The farmgate package.")
  (user
   (string "farmgate")
   "The user that it runs as.")
  (group
   (string "farmgate")
   "The user's group.")
  (supplementary-groups
   (list-of-strings '())
   "Further groups: those that may read a key of somebody else's, for example.")
  (own-log
   (string "/var/log/farmgate.log")
   "File for the gate's own log.  It is the Shepherd's, which rotates it.")
  (own-log-level
   maybe-log-level
   "@code{\"error\"}, @code{\"warn\"}, @code{\"info\"} or @code{\"debug\"}.")
  ;; What the configuration file has.
  (sites
   list-of-sites
   "The farms behind the gate: a list of @code{farmgate-site-configuration}.")
  (listen
   maybe-farmgate-listen-configuration
   "Where clients connect.")
  (paths
   maybe-farmgate-paths-configuration
   "Where things are kept.")
  (admin
   maybe-farmgate-admin-configuration
   "Who may pass to the admin pages.")
  (acme
   maybe-farmgate-acme-configuration
   "Where certificates are ordered.")
  (cache
   maybe-farmgate-cache-configuration
   "What is kept of the answers.")
  (timeouts
   maybe-farmgate-timeouts-configuration
   "How long anything is waited for.")
  (access-log
   maybe-farmgate-access-log-configuration
   "What is written about the requests.")
  (metrics
   maybe-farmgate-metrics-configuration
   "Where the state of the gate can be read.")
  (limits
   maybe-farmgate-limits-configuration
   "What one client, or all of them, may use.")
  (process
   maybe-farmgate-process-configuration
   "What the process gives up once it serves."))

(define %fields-of-guix
  '(package user group supplementary-groups own-log own-log-level))


;;;
;;; Records as tables.
;;;

;; The types of fields that can hold a record, or a list of them, with the record's predicate and fields.
(define %tables
  `((list-of-sites ,farmgate-site-configuration? ,farmgate-site-configuration-fields)
    (maybe-certificate ,farmgate-certificate-configuration? ,farmgate-certificate-configuration-fields)
    (maybe-farmgate-listen-configuration ,farmgate-listen-configuration? ,farmgate-listen-configuration-fields)
    (maybe-farmgate-paths-configuration ,farmgate-paths-configuration? ,farmgate-paths-configuration-fields)
    (maybe-farmgate-admin-configuration ,farmgate-admin-configuration? ,farmgate-admin-configuration-fields)
    (maybe-farmgate-acme-configuration ,farmgate-acme-configuration? ,farmgate-acme-configuration-fields)
    (maybe-acme-fallback ,farmgate-acme-fallback-configuration? ,farmgate-acme-fallback-configuration-fields)
    (maybe-farmgate-eab-configuration ,farmgate-eab-configuration? ,farmgate-eab-configuration-fields)
    (maybe-farmgate-cache-configuration ,farmgate-cache-configuration? ,farmgate-cache-configuration-fields)
    (maybe-farmgate-cache-static-configuration ,farmgate-cache-static-configuration? ,farmgate-cache-static-configuration-fields)
    (maybe-farmgate-cache-download-configuration ,farmgate-cache-download-configuration? ,farmgate-cache-download-configuration-fields)
    (maybe-farmgate-cache-logs-configuration ,farmgate-cache-logs-configuration? ,farmgate-cache-logs-configuration-fields)
    (maybe-farmgate-timeouts-configuration ,farmgate-timeouts-configuration? ,farmgate-timeouts-configuration-fields)
    (maybe-list-of-timeouts-routes ,farmgate-timeouts-route-configuration? ,farmgate-timeouts-route-configuration-fields)
    (maybe-farmgate-access-log-configuration ,farmgate-access-log-configuration? ,farmgate-access-log-configuration-fields)
    (maybe-farmgate-rotate-configuration ,farmgate-rotate-configuration? ,farmgate-rotate-configuration-fields)
    (maybe-farmgate-metrics-configuration ,farmgate-metrics-configuration? ,farmgate-metrics-configuration-fields)
    (maybe-farmgate-limits-configuration ,farmgate-limits-configuration? ,farmgate-limits-configuration-fields)
    (maybe-list-of-limits-requests ,farmgate-limits-requests-configuration? ,farmgate-limits-requests-configuration-fields)
    (maybe-farmgate-process-configuration ,farmgate-process-configuration? ,farmgate-process-configuration-fields)))

(define (fields-of record)
  "Return the fields of RECORD, or #f if it is no table."
  (any (match-lambda
         ((_ table? fields) (and (table? record) fields)))
       %tables))

(define %fields-of-file
  (filter-configuration-fields farmgate-configuration-fields %fields-of-guix #t))

(define (key field)
  "Return the name that FIELD has in the file."
  (match (configuration-field-name field)
    ;; What is a list of tables here is a table for each there.
    ('sites "site")
    ('routes "route")
    (name (string-map (match-lambda (#\- #\_) (char char))
                      (symbol->string name)))))

(define (farmgate-configuration-keys)
  "Return the dotted names of all tables and keys that the records can write."
  (let walk ((prefix "") (fields %fields-of-file))
    (append-map (lambda (field)
                  (let ((name (string-append prefix (key field))))
                    (cons name
                          (match (assq (configuration-field-type field) %tables)
                            (#f '())
                            ((_ _ fields) (walk (string-append name ".") fields))))))
                fields)))


;;;
;;; TOML.  A text is a list of strings and of file-like objects, which stand for their names in the store.
;;;

(define (farmgate-configuration-file config)
  "Return CONFIG as a configuration file, a file-like object."
  (apply mixed-text-file "farmgate.toml"
         "# Written by farmgate-service-type.\n"
         (append-map (lambda (field)
                       (section (key field) ((configuration-field-getter field) config)))
                     %fields-of-file)))

(define (section name value)
  "Return VALUE, a table or a list of tables, below the dotted NAME."
  (cond ((not (maybe-value-set? value)) '())
        ((list? value)
         (append-map (lambda (table)
                       (cons* "\n[[" name "]]\n" (body name table)))
                     value))
        (else (cons* "\n[" name "]\n" (body name value)))))

(define (body name table)
  "Return the lines of TABLE, and behind them the tables of which it has a list: no line of its own may follow those."
  (append (lines table)
          (append-map (lambda (field)
                        (let ((value ((configuration-field-getter field) table)))
                          (if (list-of-tables? value)
                              (section (string-append name "." (key field)) value)
                              '())))
                      (fields-of table))))

(define (list-of-tables? value)
  (and (pair? value) (every fields-of value)))

(define* (lines table #:optional (prefix ""))
  "Return a line for each key that TABLE sets; those of tables in it are dotted."
  (append-map (lambda (field)
                (let ((value ((configuration-field-getter field) table))
                      (name (string-append prefix (key field))))
                  (cond ((or (not (maybe-value-set? value)) (list-of-tables? value)) '())
                        ((fields-of value) (lines value (string-append name ".")))
                        (else (append (list name " = ") (toml value) '("\n"))))))
              (fields-of table)))

(define (toml value)
  (match value
    ((? string?) (list (toml-string value)))
    ((? exact-integer?) (list (number->string value)))
    ((? boolean?) (list (if value "true" "false")))
    (() '("[]"))
    ((first rest ...)
     (append '("[") (toml first)
             (append-map (lambda (value) (cons ", " (toml value))) rest)
             '("]")))
    ((? file-like?) (list "\"" value "\""))))

(define (toml-string text)
  "Return TEXT as a basic string of TOML."
  (define (escaped char)
    (cond ((memv char '(#\" #\\)) (string #\\ char))
          ((char-set-contains? char-set:iso-control char)
           (string-append "\\u" (string-pad (number->string (char->integer char) 16) 4 #\0)))
          (else (string char))))

  (string-append "\"" (string-concatenate (map escaped (string->list text))) "\""))
