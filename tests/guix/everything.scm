;;; A configuration that sets every field, some in all the ways that there are.  FOLDER is where files are.

(use-modules (farmgate service)
             (gnu services)
             (guix gexp))

(define folder (getenv "FOLDER"))

(define me (passwd:name (getpwuid (getuid))))

(list
 (service
  farmgate-service-type
  (farmgate-configuration
   (user me)
   (group (group:name (getgrgid (getgid))))
   (supplementary-groups '("readers-of-keys"))
   (own-log (string-append folder "/farmgate.log"))
   (own-log-level "debug")
   (sites
    (list
     (farmgate-site-configuration
      (names '("one.example.org" "two.example.org"))
      (publish "http://localhost:3000")
      (ci "http://[::1]:8081")
      (certificate
       (farmgate-certificate-configuration
        (chain (string-append folder "/chain.pem"))
        (key (string-append folder "/key.pem"))))
      (plain-http "substitutes")
      (log-route "publish")
      (webroot (string-append folder "/with \"quotes\" and \\ and \t and ü")))
     (farmgate-site-configuration
      (names '("three.example.org"))
      (publish "http://localhost:3000")
      (certificate "acme"))))
   (listen
    (farmgate-listen-configuration
     (http '("127.0.0.1:8080" "[::1]:8080"))
     (https '("127.0.0.1:8443"))))
   (paths
    (farmgate-paths-configuration
     (state (string-append folder "/made/state"))
     (cache (string-append folder "/made/cache"))
     (control (or (getenv "CONTROL") (string-append folder "/made/run/control.sock")))
     (pid (or (getenv "PID_FILE") (string-append folder "/made/run/pid")))))
   (admin
    (farmgate-admin-configuration
     (prefix "/admin")
     ;; As a `local-file' would be.
     (client-ca (mixed-text-file "ca.crt" "a certificate"))
     (crl '())))
   (acme
    (farmgate-acme-configuration
     (directory "letsencrypt-staging")
     (contact '("one@example.org" "two@example.org"))
     (ca-file (string-append folder "/chain.pem"))
     (key-type "p384")
     (profile "shortlived")
     (eab
      (farmgate-eab-configuration
       (kid "an-account")
       (hmac-key-file (string-append folder "/hmac"))))
     (fallback
      (farmgate-acme-fallback-configuration
       (directory "https://acme.example.org/directory")
       (ca-file (string-append folder "/chain.pem"))
       (eab
        (farmgate-eab-configuration
         (kid "another-account")
         (hmac-key "c2VjcmV0")))))))
   (cache
    (farmgate-cache-configuration
     (memory "1MiB")
     (static
      (farmgate-cache-static-configuration
       (max-size "2GiB")
       (inactive "3d")
       (fallback-ttl "4h")
       (fallback-ttl-other "0s")))
     (download
      (farmgate-cache-download-configuration
       (fallback-ttl "5d")
       (fallback-ttl-other "6m")
       (expires "7d")))
     (logs
      (farmgate-cache-logs-configuration
       (max-size "8GiB")
       (inactive "9d")
       (fallback-ttl "10d")))))
   (timeouts
    (farmgate-timeouts-configuration
     (connect "1s")
     (read "2s")
     (send "3s")
     (nar "4s")
     (backend-restart "0s")
     (idle "500ms")
     (queue "5s")
     (routes
      (list
       (farmgate-timeouts-route-configuration
        (paths '("/search" "/eval"))
        (read "6m"))
       (farmgate-timeouts-route-configuration
        (paths '("/jobset"))
        (read "7m"))))))
   (access-log
    (farmgate-access-log-configuration
     (http (string-append folder "/made/log/http.log"))
     (https "-")
     (format "json")
     (ipv4-mask 0)
     (ipv6-mask 128)
     (rotate
      (farmgate-rotate-configuration
       (size "1MiB")
       (keep 0)
       (age "1d")))))
   (metrics
    (farmgate-metrics-configuration
     (listen "off")))
   (limits
    (farmgate-limits-configuration
     (body "2MiB")
     (header-timeout "5s")
     (connections 100)
     (connections-per-client 10)
     (connection-requests 1000)
     (connection-age "10m")
     (bodies "20MiB")
     (nar-rate "1MiB")
     (total-rate "11MiB")
     (requests
      (list
       (farmgate-limits-requests-configuration
        (paths '("/search"))
        (rate "30/m")
        (burst 5))
       (farmgate-limits-requests-configuration
        (paths '("/build/*/log" "/eval"))
        (rate "2/s"))))
     (refused-agents '("GPTBot" "a \"bot\""))
     (backend-requests 32)
     (backend-nars 128)
     (backend-queue 0)))
   (process
    (farmgate-process-configuration
     (landlock #f)
     (seccomp #t)
     (core-dumps #f))))))
