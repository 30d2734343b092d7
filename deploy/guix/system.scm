;;; The front door of a build farm on Guix System: what stands in the place of nginx, certbot and anonip.
;;;
;;; In the file of your operating-system, add the modules of `use-modules' to yours, take out the services named below,
;;; and append %FRONT-DOOR to `services':
;;;
;;;   (services (append %front-door (list (service guix-publish-service-type …) (service cuirass-service-type …)) …))
;;;
;;; guix publish and Cuirass stay as they are.  What goes: `nginx-service-type' with its server and location blocks,
;;; `certbot-service-type', both `anonip-service-type's, the script that makes Cuirass's client certificates, the job
;;; that runs `openssl dhparam', and the rotation of nginx's logs.

(use-modules (farmgate service)
             (gnu services))

(define %front-door
  (list
   (service
    farmgate-service-type
    (farmgate-configuration
     (sites
      (list
       (farmgate-site-configuration
        ;; nginx: server_name, in both server blocks.
        (names '("cuirass.example.org"))
        ;; nginx: the locations /nix-cache-info, ~ \.narinfo$ and /nar/, with proxy_pass to port 3000.  What
        ;; `guix-publish-configuration' has as port and host.
        (publish "http://localhost:3000")
        ;; nginx: location /, /static, /download and /log/, with proxy_pass to port 8081, and their proxy_cache.
        (ci "http://localhost:8081")
        ;; certbot, with its webroot and deploy hook; ssl_certificate and ssl_certificate_key; and the certificate that
        ;; was made by hand so that nginx could start without.  The certificate is ordered at the first start, and
        ;; renewed.
        (certificate "acme")
        ;; nginx: listen 80 serves the same as listen 443, but /admin.
        (plain-http "serve"))))

     ;; certbot: email.
     (acme
      (farmgate-acme-configuration
       (contact '("admin@example.org"))))

     ;; nginx: ssl_client_certificate, and the condition on $ssl_client_verify in location /admin.  This is the CA of
     ;; Cuirass's script; its certificates stay good.  Leave the record out once `farmgate admin init --import' has
     ;; taken the CA over.
     (admin
      (farmgate-admin-configuration
       (client-ca "/etc/ssl-ca/certs/ca.crt")))

     ;; nginx: proxy_read_timeout.  Cuirass needs long for some pages of a large farm.
     (timeouts
      (farmgate-timeouts-configuration
       (routes
        (list
         (farmgate-timeouts-route-configuration
          (paths '("/jobset" "/eval" "/search"))
          (read "6m"))))))

     ;; nginx: access_log into two pipes; two anonip services with ipv4mask 12 and ipv6mask 84, which are the default
     ;; here and written down so that nobody has to look it up; and the rotation, which is the gate's own.
     (access-log
      (farmgate-access-log-configuration
       (ipv4-mask 12)
       (ipv6-mask 84)
       (rotate
        (farmgate-rotate-configuration
         (size "100MiB")
         (keep 7)))))

     ;; Not in nginx: crawlers search the pages of a farm day and night, and some take Cuirass minutes.  Take the #; away,
     ;; and each client gets those only so often, and crawlers that say who they are get no page at all.  Substitutes are
     ;; not touched by it.
     #;(limits
        (farmgate-limits-configuration
         (requests
          (list
           (farmgate-limits-requests-configuration
            (paths '("/search" "/eval" "/jobset" "/build/*/log"))
            (rate "30/m"))))
         (refused-agents '("GPTBot"))))

     ;; Not in nginx: what Prometheus reads.
     (metrics
      (farmgate-metrics-configuration
       (listen "127.0.0.1:9145")))))))

%front-door
